"""Judge: problems + one answer of each of two arms + a model → judgements.parquet.

The model is shown the answers to the same problem and says which is the more coherent one: sample 0
of each arm's first seed, in both orders, ``num_samples`` times each, for the problems of the draw.
The last line of its reply decides; one that cannot be read is credited to neither.
Run: ``python -m orion.stages.judge --config JSON --problems P --samples S --against-samples T
--model M --completions DIR --output O [--batch-size N] [--shards N] [--ceiling JSON]``.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import polars as pl

from orion import prompts, provenance, tables
from orion.engines import GenerationConfig
from orion.errors import InputError
from orion.experiment import judgements
from orion.experiment.degenerate import MAX_FAILED_FRACTION
from orion.models import checkpoints, preflight, templates
from orion.models.document import read_document
from orion.progress import log
from orion.prompts import PromptSet
from orion.stages import command
from orion.stages.generation import add_options, complete


@dataclass(frozen=True)
class JudgeConfig:
    """The configuration keys of the stage.

    ``prompts``: a prompt set's blocks, or its name. ``pairs``: how many problems are judged, drawn
    by the seed of ``generation``. ``writer``: the name of the model that judges.
    ``max_failed_fraction``: the largest part of the rows that may fail.
    """

    prompts: PromptSet | str
    generation: GenerationConfig
    pairs: int
    writer: str
    enable_thinking: bool | None = None
    max_failed_fraction: float = MAX_FAILED_FRACTION


def draw_pairs(
    problems: pl.DataFrame,
    samples: pl.DataFrame,
    against: pl.DataFrame,
    *,
    pairs: int,
    seed: int,
) -> pl.DataFrame:
    """problem_id, problem, arm, against: the two texts of each problem of the draw, sorted.

    Raises InputError where a drawn problem has no sample 0 of one of the arms.
    """
    chosen = judgements.draw_problems(problems["problem_id"], pairs, seed)
    drawn = problems.filter(pl.col("problem_id").is_in(chosen)).select("problem_id", "problem")
    for name, table in ((judgements.ARM, samples), (judgements.AGAINST, against)):
        first = table.filter(pl.col("sample_id") == 0)
        drawn = drawn.join(
            first.select("problem_id", pl.col("response").alias(name)), on="problem_id", how="left"
        )
        missing = drawn.filter(pl.col(name).is_null())["problem_id"]
        if missing.len():
            raise InputError(
                f"{missing.len()} problems have no sample 0, the first is {missing[0]}; delete the "
                "samples and run again"
            )
    return drawn.sort("problem_id")


def make_requests(
    pairs: pl.DataFrame,
    tokenizer: Any,
    *,
    prompt_set: PromptSet | str,
    num_samples: int,
    enable_thinking: bool | None,
) -> pl.DataFrame:
    """One row per reply: problem_id, order, sample_id, prompt.

    The sample_id counts the replies to both orders of a pair; those to the second order begin at
    ``num_samples``. Marks of a verdict in the texts are disarmed.
    """
    rows = []
    for pair in pairs.iter_rows(named=True):
        texts = [judgements.disarm(pair[name]) for name in (judgements.ARM, judgements.AGAINST)]
        problem = judgements.disarm(pair["problem"])
        for number, order in enumerate(judgements.ORDERS):
            shown = texts if order == judgements.ARM_FIRST else texts[::-1]
            question = prompts.judge(prompt_set, problem, *shown)
            prompt = templates.render(
                tokenizer,
                [{"role": "user", "content": question}],
                enable_thinking=enable_thinking,
            )
            row = {"problem_id": pair["problem_id"], "order": order, "prompt": prompt}
            rows += [{**row, "sample_id": number * num_samples + i} for i in range(num_samples)]
    return pl.DataFrame(rows)


def read_verdicts(replies: pl.DataFrame, num_samples: int) -> pl.DataFrame:
    """The completed requests with their verdicts; sample_id counts the replies to one order."""
    verdicts = [
        judgements.read_reply(*row)
        for row in replies.select("response", "finish_reason", "order").iter_rows()
    ]
    return replies.with_columns(
        pl.col("sample_id") % num_samples, verdict=pl.Series(verdicts, dtype=pl.String)
    )


def main(argv: list[str] | None = None) -> None:
    parser = command.make_parser(
        __doc__, "problems", "samples", "against-samples", "model", "completions", "output"
    )
    add_options(parser)
    args = parser.parse_args(argv)
    config = command.read_config(JudgeConfig, args.config)
    document = read_document(args.model)
    checked = preflight.required_inputs(args, document)
    columns = ["problem_id", "sample_id", "response"]
    try:
        pairs = draw_pairs(
            tables.read(args.problems, tables.PROBLEMS, ["problem_id", "problem"]),
            tables.read(args.samples, tables.SAMPLES, columns),
            tables.read(args.against_samples, tables.SAMPLES, columns),
            pairs=config.pairs,
            seed=config.generation.seed,
        )
    except InputError as error:
        raise InputError(f"{args.samples}, {args.against_samples}: {error}") from None
    requests = make_requests(
        pairs,
        checkpoints.load_tokenizer(document),
        prompt_set=config.prompts,
        num_samples=config.generation.num_samples,
        enable_thinking=config.enable_thinking,
    )
    replies = complete(
        requests,
        args,
        argv,
        module="orion.stages.judge",
        document=document,
        generation=config.generation,
        max_failed_fraction=config.max_failed_fraction,
    )
    if replies is None:
        return
    found = read_verdicts(replies, config.generation.num_samples)
    counts = Counter(found["verdict"])
    log(f"{pairs.height} pairs: {', '.join(f'{n} {name}' for name, n in sorted(counts.items()))}")
    inputs = {
        "problems": args.problems,
        "samples": args.samples,
        "against_samples": args.against_samples,
        "model": args.model,
        **checked,
    }
    record = provenance.record("orion.stages.judge", args.config, inputs)
    table = judgements.JUDGEMENTS
    tables.write(found, args.output, table, record, rows=requests.height)


if __name__ == "__main__":
    command.run(main)
