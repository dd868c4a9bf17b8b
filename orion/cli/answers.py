"""``orion answers check | lint | audit``: one verdict as JSON, golds that cannot be parsed, two policies compared on a file.

Inputs: files of problems or responses (JSONL, JSONL.zst, parquet). Outputs: text on standard output, for ``audit`` also JSONL.
Run: ``orion answers --help``.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import polars as pl

from orion.answers import audit, check, policies
from orion.data.sources import read_source
from orion.errors import InputError
from orion.paths import AtomicFile
from orion.progress import Progress, log
from orion.stages import lint

# columns that name a row, the first one that is there
IDS = ("problem_id", "id")
FINISHED = {"stop": True, "length": False, "prompt_too_long": False, "error": False}


def add(commands) -> None:
    """Adds the command ``answers`` to the subparsers of the console script."""
    group = commands.add_parser(
        "answers", help="check an answer, lint golds, compare two answer policies"
    )
    actions = group.add_subparsers(required=True)
    one = actions.add_parser("check", help="the verdict on one response, as JSON")
    one.add_argument("gold", metavar="GOLD", help="behind -- where it begins with a minus")
    one.add_argument(
        "response", metavar="RESPONSE", nargs="?", default="-", help="- or nothing: standard input"
    )
    one.set_defaults(run=_check)
    golds = actions.add_parser(
        "lint", help="golds that cannot be parsed; exit status 1 if there are any"
    )
    golds.add_argument("file", metavar="FILE", help=".jsonl, .jsonl.zst or .parquet")
    golds.add_argument("--answer", default="answer", metavar="COLUMN", help="column of the golds")
    golds.set_defaults(run=_lint)
    two = actions.add_parser(
        "audit", help="two policies on the same responses, and where they differ"
    )
    two.add_argument(
        "file", metavar="FILE", help="responses and golds, or samples.parquet with --problems"
    )
    two.add_argument("--against", default="math-verify", metavar="POLICY", help="the other policy")
    two.add_argument(
        "--response", default="response", metavar="COLUMN", help="column of the responses"
    )
    two.add_argument("--gold", default="answer", metavar="COLUMN", help="column of the golds")
    two.add_argument("--problems", metavar="FILE", help="where the golds are, by problem_id")
    two.add_argument("--limit", type=_at_least(1), metavar="N", help="use the first rows only")
    two.add_argument(
        "--show",
        type=_at_least(0),
        default=50,
        metavar="N",
        help="rows in dispute that are printed",
    )
    two.add_argument("--output", metavar="FILE.jsonl", help="every row whose verdicts differ")
    two.add_argument(
        "--workers",
        type=_at_least(1),
        default=1,
        metavar="N",
        help="worker processes; changes speed only",
    )
    two.set_defaults(run=_audit)
    for parser in (one, golds, two):
        known = ", ".join(sorted(policies.POLICIES))
        parser.add_argument("--policy", default="math", help=f"answer policy: {known}")
    for parser in (one, two):
        # above Math-Verify's own limits, 5 seconds for each parse and comparison, so that they decide
        parser.add_argument(
            "--timeout",
            type=float,
            default=12.0,
            metavar="S",
            help="seconds one comparison may take",
        )


def _at_least(low: int):
    def integer(text: str) -> int:
        if int(text) < low:
            raise ValueError
        return int(text)

    return integer


def _known(*names: str) -> None:
    for name in names:
        try:
            policies.get_policy(name)
        except policies.PolicyError as error:
            raise InputError(str(error)) from None


def read(path: str, columns: dict[str, str], limit: int | None = None) -> list[dict]:
    """The named cells of a file's rows, with `id`, `problem_id` and `finish_reason` where the file has them.

    `columns`: our name → the file's column. Raises InputError for another kind of file, a damaged one, or a column in no row.
    """
    kind = (
        "parquet"
        if path.endswith(".parquet")
        else "jsonl"
        if path.endswith((".jsonl", ".jsonl.zst"))
        else None
    )
    if kind is None or not Path(path).is_file():
        raise InputError(
            f"{path}: {'no such file' if kind else 'give a .jsonl, .jsonl.zst or .parquet file'}"
        )
    rows: list[dict] = []
    seen: set[str] = set()
    for number, row in enumerate(islice(read_source({"kind": kind, "path": path}), limit)):
        seen.update(row)
        name = next(
            (str(row[column]) for column in IDS if row.get(column) is not None), f"row-{number}"
        )
        cells = {ours: row.get(column) for ours, column in columns.items()}
        sample = f"/{row['sample_id']}" if row.get("sample_id") is not None else ""
        rows.append(
            {
                "id": name + sample,
                "key": name,
                "ended": FINISHED.get(str(row.get("finish_reason"))),
                **cells,
            }
        )
    for column in columns.values():
        if rows and column not in seen:
            raise InputError(
                f"{path}: no row has the column {column!r}; the columns are: {', '.join(sorted(seen)[:20])}"
            )
    if not rows:
        raise InputError(f"{path}: no rows")
    return rows


def _text(value) -> str | None:
    """A gold as text: numbers as they print; None for what is no text and no number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _check(args: argparse.Namespace) -> None:
    _known(args.policy)
    response = args.response
    if response == "-":
        response = sys.stdin.buffer.read().decode("utf-8", "replace")
    verdict = check(response, args.gold, args.policy, timeout_s=args.timeout)
    print(json.dumps(verdict.as_dict(), indent=1))


def _lint(args: argparse.Namespace) -> None:
    _known(args.policy)
    rows = read(args.file, {"answer": args.answer})
    golds = pl.DataFrame(
        {
            "problem_id": [row["id"] for row in rows],
            "answer": [_text(row["answer"]) for row in rows],
        },
        schema={"problem_id": pl.String, "answer": pl.String},
    )
    bad = lint.find_unparseable(golds, args.policy)
    for row in bad:
        print(
            f"{audit.one_line(row['problem_id'])}: {audit.one_line(row['answer'])}: {audit.one_line(row['reason'])}"
        )
    print(f"{len(rows):,} golds, {len(bad):,} cannot be parsed under the policy {args.policy}")
    if bad:
        sys.exit(1)


def _rows(args: argparse.Namespace) -> Iterator[audit.Row]:
    """The rows to audit, with golds of their own or those of ``--problems``; raises InputError as `read` does."""
    if args.problems is None:
        for row in read(args.file, {"response": args.response, "gold": args.gold}, args.limit):
            yield audit.Row(row["id"], _text(row["gold"]), row["response"], row["ended"])
        return
    golds: dict[str, str | None] = {}
    for row in read(args.problems, {"gold": args.gold}):
        gold = _text(row["gold"])
        if golds.setdefault(row["key"], gold) != gold:
            raise InputError(
                f"{args.problems}: {row['key']} stands there twice, with different golds"
            )
    for row in read(args.file, {"response": args.response}, args.limit):
        if row["key"] not in golds:
            raise InputError(
                f"{args.file}: {row['id']} has no problem in {args.problems}; give the file it was made from"
            )
        yield audit.Row(row["id"], golds[row["key"]], row["response"], row["ended"])


def _audit(args: argparse.Namespace) -> None:
    names = (args.policy, args.against)
    _known(*names)
    if args.policy == args.against:
        raise InputError(
            f"--against {args.against}: name another policy than --policy, or there is nothing to compare"
        )
    rows = list(_rows(args))
    found = audit.Audit(names)
    shown: list[audit.AuditedRow] = []
    progress = Progress(len(rows), "rows", every_s=5.0)
    judged = audit.audit_rows(
        rows, names, timeout_s=args.timeout, workers=args.workers, done=progress.add
    )

    def differing(judged: Iterable[audit.AuditedRow]) -> Iterator[audit.AuditedRow]:
        for one in judged:
            found.add(one)
            if one.disputed and len(shown) < args.show:
                shown.append(one)
            if one.differs:
                yield one

    if args.output:
        with (
            AtomicFile(args.output) as partial,
            open(partial, "w", encoding="utf-8") as handle,
        ):
            for one in differing(judged):
                handle.write(json.dumps(audit.difference_record(one, names)) + "\n")
    else:
        for _ in differing(judged):
            pass
    progress.close()
    _report(found, shown, args.output)


def _report(found: audit.Audit, shown: list[audit.AuditedRow], output: str | None) -> None:
    print("\n".join(audit.format_summary(found)))
    print(f"\n{found.disputed:,} rows in dispute" + (":" if shown else ""))
    for one in shown:
        print("\n".join(audit.format_difference(one, found.names)))
    more = found.disputed - len(shown)
    if more:
        print(f"and {more:,} more: raise --show, or name a file with --output")
    only = found.differing - found.disputed
    if only:
        print(
            f"{only:,} rows differ in the verdict and not in credit"
            + ("" if output else "; --output lists them too")
        )
    if output:
        log(f"{output}: {found.differing:,} rows")
