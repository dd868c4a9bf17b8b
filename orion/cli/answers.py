"""``orion answers check | lint | audit | steps | rules``: verdicts on answers and on steps.

Inputs: files of problems or responses (JSONL, JSONL.zst, parquet), for ``steps`` a text. Outputs:
text on standard output; ``audit`` also writes JSONL.
Run: ``orion answers --help``.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from orion.answers import audit, check, policies, rule_tables
from orion.answers.steps import check_steps, report
from orion.data.files import find_format
from orion.data.formats import BadRow
from orion.data.sources import read_source
from orion.errors import InputError
from orion.paths import AtomicFile
from orion.progress import Progress, log
from orion.stages import lint

# columns that name a row; the first one that the row has is used
ID_COLUMNS = ("problem_id", "id")
# finish_reason → whether the response came to its end
FINISHED = {"stop": True, "length": False, "prompt_too_long": False, "error": False}


def add(commands: Any) -> None:
    """Add the command ``answers`` to the subparsers of the console script."""
    group = commands.add_parser(
        "answers", help="check an answer or its steps, lint golds, compare two answer policies"
    )
    actions = group.add_subparsers(required=True)
    check_parser = actions.add_parser("check", help="the verdict on one response, as JSON")
    _add_check_arguments(check_parser)
    lint_parser = actions.add_parser(
        "lint", help="golds that cannot be parsed; exit status 1 if there are any"
    )
    _add_lint_arguments(lint_parser)
    audit_parser = actions.add_parser(
        "audit", help="two policies on the same responses, and where they differ"
    )
    _add_audit_arguments(audit_parser)
    steps_parser = actions.add_parser("steps", help="the claims of a text and the truth of each")
    steps_parser.add_argument("file", metavar="FILE", help="a text file; - is standard input")
    steps_parser.set_defaults(run=_steps)
    rules_parser = actions.add_parser(
        "rules", help="the tables of rules, cues, units and steps, in the order they are tried"
    )
    rules_parser.add_argument("name", nargs="?", help="only the rows of this name")
    rules_parser.set_defaults(run=_print_rules)
    for parser in (check_parser, lint_parser, audit_parser):
        names = ", ".join(sorted(policies.POLICIES))
        parser.add_argument("--policy", default="math", help=f"answer policy: {names}")
    for parser in (check_parser, audit_parser):
        # longer than Math-Verify's own limits (5 seconds for each parse and each comparison), so
        # that its limits decide and not this one
        parser.add_argument(
            "--timeout",
            type=float,
            default=12.0,
            metavar="S",
            help="seconds one comparison may take",
        )


def _print_rules(args: argparse.Namespace) -> None:
    rows = list(rule_tables.all_rules())
    if args.name is not None:
        names = dict.fromkeys(row.name for row in rows)
        rows = [row for row in rows if row.name == args.name]
        if not rows:
            raise InputError(f"no rule is named {args.name!r}; known: {', '.join(names)}")
    table = None
    for row in rows:
        if row.table != table:
            print(f"{'' if table is None else chr(10)}{row.table}")
            table = row.table
        print(f"  {row.name:<22} {row.effect:<14} {row.example}".rstrip())


def _add_check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("gold", metavar="GOLD", help="behind -- where it begins with a minus")
    parser.add_argument(
        "response", metavar="RESPONSE", nargs="?", default="-", help="- or nothing: standard input"
    )
    parser.set_defaults(run=_check)


def _add_lint_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help=".jsonl, .jsonl.zst or .parquet")
    parser.add_argument("--answer", default="answer", metavar="COLUMN", help="column of the golds")
    parser.set_defaults(run=_lint)


def _add_audit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", help="responses and golds, or samples.parquet with --problems"
    )
    parser.add_argument(
        "--against", default="math-verify", metavar="POLICY", help="the other policy"
    )
    parser.add_argument(
        "--response", default="response", metavar="COLUMN", help="column of the responses"
    )
    parser.add_argument("--gold", default="answer", metavar="COLUMN", help="column of the golds")
    parser.add_argument("--problems", metavar="FILE", help="where the golds are, by problem_id")
    parser.add_argument(
        "--limit", type=_integer_from(1), metavar="N", help="use the first rows only"
    )
    parser.add_argument(
        "--show",
        type=_integer_from(0),
        default=50,
        metavar="N",
        help="rows in dispute that are printed",
    )
    parser.add_argument("--output", metavar="FILE.jsonl", help="every row whose verdicts differ")
    parser.add_argument(
        "--workers",
        type=_integer_from(1),
        default=1,
        metavar="N",
        help="worker processes; changes speed only",
    )
    parser.set_defaults(run=_audit)


def _integer_from(low: int) -> Callable[[str], int]:
    """A type of argparse: integers of at least ``low``."""

    def integer(text: str) -> int:
        if int(text) < low:
            raise ValueError
        return int(text)

    return integer


def _check_policies(*names: str) -> None:
    for name in names:
        try:
            policies.get_policy(name)
        except policies.PolicyError as error:
            raise InputError(str(error)) from None


def read_rows(path: str, columns: dict[str, str], limit: int | None = None) -> list[dict[str, Any]]:
    """The rows of a file with the named columns and three more keys.

    `columns`: our name → the file's column. `key`: the problem's name, or the row's number; `id`:
    the same with the sample's number; `ended`: whether the response came to its end, None if the
    file does not tell. Raises InputError for a file of another kind, a damaged or empty file, and a
    column that no row has.
    """
    kind = find_format(path)
    if kind is None or not Path(path).is_file():
        raise InputError(
            f"{path}: {'no such file' if kind else 'give a .jsonl, .json, .csv or .parquet file'}"
        )
    rows: list[dict] = []
    seen: set[str] = set()
    for number, row in enumerate(islice(read_source({"kind": "file", "path": path}), limit)):
        if isinstance(row, BadRow):
            raise InputError(row.detail)
        seen.update(row)
        name = next(
            (str(row[column]) for column in ID_COLUMNS if row.get(column) is not None),
            f"row-{number}",
        )
        values = {ours: row.get(column) for ours, column in columns.items()}
        sample = f"/{row['sample_id']}" if row.get("sample_id") is not None else ""
        rows.append(
            {
                "id": name + sample,
                "key": name,
                "ended": FINISHED.get(str(row.get("finish_reason"))),
                **values,
            }
        )
    for column in columns.values():
        if rows and column not in seen:
            raise InputError(
                f"{path}: no row has the column {column!r}; "
                f"the columns are: {', '.join(sorted(seen)[:20])}"
            )
    if not rows:
        raise InputError(f"{path}: no rows")
    return rows


def _steps(args: argparse.Namespace) -> None:
    if args.file == "-":
        data = sys.stdin.buffer.read()
    else:
        try:
            data = Path(args.file).read_bytes()
        except OSError as error:
            raise InputError(f"{args.file}: {error.strerror}") from None
    text = data.decode("utf-8", "replace")
    print("\n".join(report.format_claims(text, check_steps(text))))


def _gold_text(value: object) -> str | None:
    """A gold as text, a number as it prints; None for a value of any other type."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _check(args: argparse.Namespace) -> None:
    _check_policies(args.policy)
    response = args.response
    if response == "-":
        response = sys.stdin.buffer.read().decode("utf-8", "replace")
    verdict = check(response, args.gold, args.policy, timeout_s=args.timeout)
    print(json.dumps(verdict.as_dict(), indent=1))


def _lint(args: argparse.Namespace) -> None:
    _check_policies(args.policy)
    rows = read_rows(args.file, {"answer": args.answer})
    golds = pl.DataFrame(
        {
            "problem_id": [row["id"] for row in rows],
            "answer": [_gold_text(row["answer"]) for row in rows],
        },
        schema={"problem_id": pl.String, "answer": pl.String},
    )
    bad = lint.find_unparseable(golds, args.policy)
    for row in bad:
        print(
            ": ".join(audit.one_line(row[column]) for column in ("problem_id", "answer", "reason"))
        )
    print(f"{len(rows):,} golds, {len(bad):,} cannot be parsed under the policy {args.policy}")
    if bad:
        sys.exit(1)


def _read_audit_rows(args: argparse.Namespace) -> Iterator[audit.Row]:
    """The rows to audit, with the golds of ``--problems`` or their own.

    Raises InputError as `read_rows` does, for a problem with two golds and for a row without one.
    """
    if args.problems is None:
        for row in read_rows(args.file, {"response": args.response, "gold": args.gold}, args.limit):
            yield audit.Row(row["id"], _gold_text(row["gold"]), row["response"], row["ended"])
        return
    golds: dict[str, str | None] = {}
    for row in read_rows(args.problems, {"gold": args.gold}):
        gold = _gold_text(row["gold"])
        if golds.setdefault(row["key"], gold) != gold:
            raise InputError(f"{args.problems}: {row['key']} occurs twice, with different golds")
    for row in read_rows(args.file, {"response": args.response}, args.limit):
        if row["key"] not in golds:
            raise InputError(
                f"{args.file}: {row['id']} has no problem in {args.problems}; "
                "give the file it was made from"
            )
        yield audit.Row(row["id"], golds[row["key"]], row["response"], row["ended"])


def _audit(args: argparse.Namespace) -> None:
    names = (args.policy, args.against)
    _check_policies(*names)
    if args.policy == args.against:
        raise InputError(
            f"--against {args.against}: name another policy than --policy, "
            "or there is nothing to compare"
        )
    rows = list(_read_audit_rows(args))
    found = audit.Audit(names)
    shown: list[audit.AuditedRow] = []
    progress = Progress(len(rows), "rows", every_s=5.0)
    audited = audit.audit_rows(
        rows, names, timeout_s=args.timeout, workers=args.workers, done=progress.add
    )

    def differing_rows(audited: Iterable[audit.AuditedRow]) -> Iterator[audit.AuditedRow]:
        for one in audited:
            found.add(one)
            if one.is_disputed and len(shown) < args.show:
                shown.append(one)
            if one.differs:
                yield one

    if args.output:
        with (
            AtomicFile(args.output) as partial,
            open(partial, "w", encoding="utf-8") as handle,
        ):
            for one in differing_rows(audited):
                handle.write(json.dumps(audit.difference_record(one, names)) + "\n")
    else:
        for _ in differing_rows(audited):
            pass
    progress.close()
    _report(found, shown, args.output)


def _report(found: audit.Audit, shown: list[audit.AuditedRow], output: str | None) -> None:
    print("\n".join(audit.format_summary(found)))
    print(f"\n{found.disputed_rows:,} rows in dispute" + (":" if shown else ""))
    for one in shown:
        print("\n".join(audit.format_difference(one, found.names)))
    more = found.disputed_rows - len(shown)
    if more:
        print(f"and {more:,} more: raise --show, or name a file with --output")
    only = found.differing_rows - found.disputed_rows
    if only:
        print(
            f"{only:,} rows differ in the verdict and not in credit"
            + ("" if output else "; --output lists them too")
        )
    if output:
        log(f"{output}: {found.differing_rows:,} rows")
