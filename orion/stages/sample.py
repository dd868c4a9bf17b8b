"""Sample answers: problems + model → samples, ``num_samples`` per problem.

The rules use it for a student's and a teacher's answers to the training problems, and for the
benchmarks. Completions that the store already holds are not generated again.
Run: ``python -m orion.stages.sample --config JSON --problems P --model M --completions DIR
--output O [--batch-size N] [--shards N] [--plan P --plan-digest D] [--ceiling JSON]``.
"""

from dataclasses import dataclass
from typing import Any

import polars as pl

from orion import prompts, provenance, tables
from orion.engines import GenerationConfig
from orion.experiment import plan
from orion.experiment.degenerate import MAX_FAILED_FRACTION
from orion.models import checkpoints, preflight, templates
from orion.models.document import read_document
from orion.prompts import PromptSet
from orion.stages import command
from orion.stages.generation import add_options, complete


@dataclass(frozen=True)
class SampleConfig:
    """The configuration keys of the stage; ``prompts``: a prompt set's blocks, or its name.

    ``max_failed_fraction``: the largest part of the rows that may fail.
    """

    prompts: PromptSet | str
    generation: GenerationConfig
    enable_thinking: bool | None = None
    max_failed_fraction: float = MAX_FAILED_FRACTION


def make_requests(
    problems: pl.DataFrame,
    tokenizer: Any,
    *,
    prompt_set: PromptSet | str,
    num_samples: int,
    enable_thinking: bool | None,
) -> pl.DataFrame:
    """One row per completion: problem_id, sample_id, template, prompt (as the model reads it)."""
    rows = []
    for problem_id, problem in problems.select("problem_id", "problem").iter_rows():
        messages = prompts.solve_messages(prompt_set, problem)
        prompt = templates.render(tokenizer, messages, enable_thinking=enable_thinking)
        row = {"problem_id": problem_id, "template": "solve", "prompt": prompt}
        rows += [{**row, "sample_id": i} for i in range(num_samples)]
    return pl.DataFrame(rows)


def main(argv: list[str] | None = None) -> None:
    parser = command.make_parser(__doc__, "problems", "model", "completions", "output")
    add_options(parser)
    plan.add_options(parser)
    args = parser.parse_args(argv)
    config = command.read_config(SampleConfig, args.config)
    registered = plan.require_registered(args)
    problems = tables.read(args.problems, tables.PROBLEMS, ["problem_id", "problem"])
    document = read_document(args.model)
    checked = preflight.required_inputs(args, document)
    num_samples = config.generation.num_samples
    requests = make_requests(
        problems,
        checkpoints.load_tokenizer(document),
        prompt_set=config.prompts,
        num_samples=num_samples,
        enable_thinking=config.enable_thinking,
    )
    samples = complete(
        requests,
        args,
        argv,
        module="orion.stages.sample",
        document=document,
        generation=config.generation,
        max_failed_fraction=config.max_failed_fraction,
    )
    if samples is None:
        return
    inputs = {"problems": args.problems, "model": args.model, **checked}
    record = provenance.record("orion.stages.sample", args.config, inputs) | registered
    tables.write(samples, args.output, tables.SAMPLES, record, rows=problems.height * num_samples)


if __name__ == "__main__":
    command.run(main)
