"""Lint gold answers before anything is sampled: problems → the list of golds that the answer checker cannot parse.

A stage of its own, beside ``dataset``, so that an edit in ``orion.answers`` does not make the problems look new.
Run: ``python -m orion.lint --config JSON --problems P [--output O]``; without an output it is a gate only.
"""

import polars as pl

from orion import provenance, stage, tables
from orion.answers import parse_gold
from orion.answers.policies import PolicyError
from orion.errors import InputError


def unparseable(problems: pl.DataFrame, policy: str) -> list[dict]:
    """Rows (problem_id, answer, reason) whose gold answer the policy cannot parse.

    Raises InputError where the policy is unknown or its package is not installed.
    """
    rows = problems.select("problem_id", "answer").iter_rows()
    try:
        faults = [(problem_id, answer, parse_gold(answer, policy)) for problem_id, answer in rows]
    except PolicyError as error:
        raise InputError(f"policy: {error}") from None
    return [{"problem_id": i, "answer": a, "reason": fault} for i, a, fault in faults if fault]


def main(argv: list[str] | None = None) -> None:
    made = stage.parser(__doc__, "problems")
    made.add_argument("--output", metavar="PATH", help="where the list goes")
    args = made.parse_args(argv)
    problems = tables.read(args.problems, tables.PROBLEMS, ["problem_id", "answer"])
    bad = unparseable(problems, args.config["policy"])
    for row in bad:
        stage.log(
            f"{args.problems}: {row['problem_id']}: gold answer {row['answer']!r}: {row['reason']}"
        )
    stage.log(
        f"{problems.height} gold answers, {len(bad)} cannot be parsed under the policy {args.config['policy']}"
    )
    if len(bad) > args.config["max_rejected"] * problems.height:
        raise InputError(
            f"{args.problems}: {len(bad)} of {problems.height} gold answers cannot be parsed (listed above), more than "
            f"max_rejected = {args.config['max_rejected']}; correct them, choose another policy, or raise max_rejected"
        )
    if args.output:
        record = provenance.record("orion.lint", args.config, {"problems": args.problems})
        tables.write_json({"rows": problems.height, "unparseable": bad}, args.output, record)


if __name__ == "__main__":
    stage.run(main)
