"""Reflect: problems + exposed errors + model → the student's refinements of the teacher's trace.

Every arm is asked on the same (problem, attempts) pairs: the errors table says how many prompts a problem gets, the arm's
``shows`` says what stands in them. Where the selection policy wants it, problems also get a prompt without errors.
Run: ``python -m orion.reflect --config JSON --problems P --errors E --model M --cells DIR --output O [--batch-size N]``.
"""

import polars as pl

from orion import checkpoints, generating, prompts, provenance, stage, tables
from orion.errors import InputError

REWRITE = "rewrite"
REFLECT = "reflect"


def asked(
    problems: pl.DataFrame,
    errors: pl.DataFrame,
    *,
    shows: list[str],
    rewrite: str,
    errors_per_prompt: int,
) -> list[dict]:
    """The prompts wanted: problem_id, prompt_id (``reflect:0+1``: template and error ranks), teacher, errors.

    ``rewrite`` adds a prompt without errors: for ``all`` problems, for those with ``no_errors``, or for ``none``.
    Problems without a teacher's trace that checked correct get no prompt where the arm shows one.
    """
    shown: dict[str, list[tuple[int, str]]] = {}
    for problem_id, rank, response in (
        errors.select("problem_id", "rank", "response").sort("problem_id", "rank").iter_rows()
    ):
        shown.setdefault(problem_id, []).append((rank, response))
    wanted = []
    for problem_id, trace in problems.select("problem_id", "teacher_trace").iter_rows():
        if "teacher" in shows and trace is None:
            continue
        teacher = trace if "teacher" in shows else None
        mine = shown.get(problem_id, [])
        for start in range(0, len(mine), errors_per_prompt):
            group = mine[start : start + errors_per_prompt]
            ranks = "+".join(str(rank) for rank, _ in group)
            texts = [text for _, text in group] if "errors" in shows else []
            wanted.append(
                {
                    "problem_id": problem_id,
                    "prompt_id": f"{REFLECT}:{ranks}",
                    "teacher": teacher,
                    "errors": texts,
                }
            )
        if trace is not None and (rewrite == "all" or (rewrite == "no_errors" and not mine)):
            wanted.append(
                {
                    "problem_id": problem_id,
                    "prompt_id": f"{REWRITE}:",
                    "teacher": trace,
                    "errors": [],
                }
            )
    return wanted


def requests(
    wanted: list[dict], problems: pl.DataFrame, tokenizer, *, prompt_set: str, k: int, thinking
) -> pl.DataFrame:
    """One row a completion: problem_id, sample_id (prompt index · k + i), prompt_id, prompt."""
    texts = dict(problems.select("problem_id", "problem").iter_rows())
    index: dict[str, int] = {}
    rows = []
    for ask in wanted:
        problem_id = ask["problem_id"]
        content = prompts.reflect(
            prompt_set, texts[problem_id], teacher=ask["teacher"], errors=ask["errors"]
        )
        prompt = checkpoints.render(
            tokenizer, [{"role": "user", "content": content}], enable_thinking=thinking
        )
        first = index.get(problem_id, 0)
        index[problem_id] = first + k
        head = {"problem_id": problem_id, "prompt_id": ask["prompt_id"], "prompt": prompt}
        rows += [{**head, "sample_id": first + i} for i in range(k)]
    return pl.DataFrame(rows)


def main(argv: list[str] | None = None) -> None:
    parser = stage.parser(
        __doc__, "problems", "trace-verdicts", "errors", "model", "cells", "output"
    )
    generating.add_options(parser)
    args = parser.parse_args(argv)
    problems = tables.with_correct_traces(
        tables.read(args.problems, tables.PROBLEMS, ["problem_id", "problem", "teacher_trace"]),
        tables.read(args.trace_verdicts, tables.VERDICT_ROWS),
    )
    errors = tables.read(args.errors, tables.ERRORS)
    config = args.config
    wanted = asked(
        problems,
        errors,
        shows=config["shows"],
        rewrite=config["rewrite"],
        errors_per_prompt=config["errors_per_prompt"],
    )
    if not wanted:
        raise InputError(
            f"no reflection prompt to ask: {errors.height} errors in {args.errors}, "
            f"{problems['teacher_trace'].count()} correct teacher traces in {args.problems}; "
            "raise sample.k or sample.temperature, or map fields.teacher_trace of the dataset"
        )
    stage.log(
        f"{len(wanted)} reflection prompts for {len({w['problem_id'] for w in wanted})} of {problems.height} problems"
    )
    model = tables.read_json(args.model)
    rows = requests(
        wanted,
        problems,
        checkpoints.load_tokenizer(model),
        prompt_set=config["prompts"],
        k=config["generation"]["k"],
        thinking=config.get("enable_thinking"),
    )
    done = generating.complete(rows, args, argv, module="orion.reflect", model_doc=model)
    if done is None:
        return
    inputs = {
        "problems": args.problems,
        "trace_verdicts": args.trace_verdicts,
        "errors": args.errors,
        "model": args.model,
    }
    tables.write(
        done,
        args.output,
        tables.REFLECTIONS,
        provenance.record("orion.reflect", config, inputs),
        rows=rows.height,
    )


if __name__ == "__main__":
    stage.run(main)
