"""Lint gold answers before anything is sampled: problems → the golds that the checker cannot parse.

A separate stage, so that an edit in ``orion.answers`` does not make the problems look new.
Run: ``python -m orion.stages.lint --config JSON --problems P [--output O]``; without an output it
only stops the run where too many golds cannot be parsed.
"""

from dataclasses import dataclass, fields

import polars as pl

from orion import provenance, tables
from orion.answers import parse_gold
from orion.answers.policies import PolicyError
from orion.data.golds import find_placeholder, shorten, suggest_rule
from orion.errors import InputError
from orion.progress import log
from orion.stages import command

# golds that the log names; lint.json has all
SHOWN = 20


@dataclass(frozen=True)
class LintConfig:
    """The configuration keys of the stage that are read; those of the problem set are ignored."""

    policy: str
    max_rejected_fraction: float


def find_unparseable(problems: pl.DataFrame, policy: str) -> list[dict[str, str]]:
    """Rows (problem_id, answer, reason) whose gold answer the policy cannot parse, or that is none.

    Raises InputError where the policy is unknown or its package is not installed.
    """
    found = []
    for problem_id, answer in problems.select("problem_id", "answer").iter_rows():
        try:
            fault = parse_gold(answer, policy)
        except PolicyError as error:
            raise InputError(f"policy: {error}") from None
        if answer is not None:
            fault = find_placeholder(answer) or (fault and fault + suggest_rule(answer))
        if fault:
            found.append({"problem_id": problem_id, "answer": answer, "reason": fault})
    return found


def find_suspect(problems: pl.DataFrame) -> list[str]:
    """The ids of the problems whose gold label the configuration calls suspect."""
    if "suspect_label" not in [field.name for field in problems.schema["meta"].fields]:  # type: ignore[attr-defined]
        return []
    flagged = problems.filter(pl.col("meta").struct.field("suspect_label"))
    return flagged["problem_id"].to_list()


def main(argv: list[str] | None = None) -> None:
    parser = command.make_parser(__doc__, "problems")
    parser.add_argument("--output", metavar="PATH", help="where the list of golds is written")
    args = parser.parse_args(argv)
    # the rules that make problems pass the whole block of the problem set
    names = {field.name for field in fields(LintConfig)} & set(args.config)
    config = command.read_config(LintConfig, {name: args.config[name] for name in names})
    problems = tables.read(args.problems, tables.PROBLEMS, ["problem_id", "answer", "meta"])
    bad = find_unparseable(problems, config.policy)
    for row in bad[:SHOWN]:
        answer = shorten(row["answer"])
        log(f"{args.problems}: {row['problem_id']}: gold answer {answer!r}: {row['reason']}")
    if len(bad) > SHOWN:
        log(f"{args.problems}: and {len(bad) - SHOWN} more")
    log(
        f"{problems.height} gold answers, {len(bad)} cannot be parsed under the policy "
        f"{config.policy}"
    )
    suspect = find_suspect(problems)
    if suspect:
        log(f"{len(suspect)} gold answers are called suspect by suspect_labels and are kept")
    if len(bad) > config.max_rejected_fraction * problems.height:
        raise InputError(
            f"{args.problems}: {len(bad)} of {problems.height} gold answers cannot be parsed "
            f"(listed above), more than max_rejected_fraction = {config.max_rejected_fraction}; "
            "correct them, choose another policy, or raise max_rejected_fraction"
        )
    if args.output:
        record = provenance.record("orion.stages.lint", args.config, {"problems": args.problems})
        document = {"rows": problems.height, "unparseable": bad, "suspect": suspect}
        tables.write_json(document, args.output, record)


if __name__ == "__main__":
    command.run(main)
