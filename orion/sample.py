"""Sample k answers a problem from a model: problems + model → samples.

Completions that the cell store already holds are not generated again. Used for the training problems, the student's and a
teacher's, and, in the rules of ``evaluate``, for the benchmarks.
Run: ``python -m orion.sample --config JSON --problems P --model M --cells DIR --output O [--batch-size N] [--shards N]``.
"""

import polars as pl

from orion import checkpoints, generating, prompts, provenance, stage, tables


def requests(
    problems: pl.DataFrame, tokenizer, *, prompt_set: str, k: int, enable_thinking: bool | None
) -> pl.DataFrame:
    """One row a completion wanted: problem_id, sample_id, prompt_id, prompt (the text the model reads)."""
    rows = []
    for problem_id, problem in problems.select("problem_id", "problem").iter_rows():
        message = [{"role": "user", "content": prompts.solve(prompt_set, problem)}]
        prompt = checkpoints.render(tokenizer, message, enable_thinking=enable_thinking)
        rows += [
            {"problem_id": problem_id, "sample_id": i, "prompt_id": "solve", "prompt": prompt}
            for i in range(k)
        ]
    return pl.DataFrame(rows)


def main(argv: list[str] | None = None) -> None:
    parser = stage.parser(__doc__, "problems", "model", "cells", "output")
    generating.add_options(parser)
    args = parser.parse_args(argv)
    problems = tables.read(args.problems, tables.PROBLEMS, ["problem_id", "problem"])
    model = tables.read_json(args.model)
    generation = args.config["generation"]
    wanted = requests(
        problems,
        checkpoints.load_tokenizer(model),
        prompt_set=args.config["prompts"],
        k=generation["k"],
        enable_thinking=args.config.get("enable_thinking"),
    )
    samples = generating.complete(wanted, args, argv, module="orion.sample", model_doc=model)
    if samples is None:
        return
    record = provenance.record(
        "orion.sample", args.config, {"problems": args.problems, "model": args.model}
    )
    tables.write(
        samples, args.output, tables.SAMPLES, record, rows=problems.height * generation["k"]
    )


if __name__ == "__main__":
    stage.run(main)
