"""Surprisal of texts that may be trained on or shown: texts + student → surprisal.parquet.

Each sample, or the refined part of each reflection, is read once as the answer to its problem by
the student that will be trained, before its training. Of each text the mean surprise (negative
log-likelihood, nats) and the mean rank of its tokens are kept. A text that has no refined part,
that the chat template cannot carry, or that is longer than the student's context has none.
Run: ``python -m orion.stages.surprisal --config JSON --problems P --texts T --model M --output O
[--preflight F]``.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from orion import prompts, provenance, tables
from orion.errors import InputError
from orion.experiment.surprise import DECIMALS, SURPRISALS
from orion.models import checkpoints, preflight
from orion.models.document import read_document
from orion.models.training_documents import RejectedRowError
from orion.progress import Progress, log
from orion.prompts import PromptSet
from orion.stages import command
from orion.training.row_encoding import RowEncoding, make_encoder
from orion.training.table_slices import read_slices

# texts that are in memory at a time
SLICE_ROWS = 1_000
# part → its table, and the kind of the row that it would be trained as
PARTS = {
    "response": (tables.SAMPLES, "own_sample"),
    "refined": (tables.REFLECTIONS, "reflection"),
}


@dataclass(frozen=True)
class SurprisalConfig:
    """The configuration keys of the stage; ``part``: a key of PARTS."""

    prompts: PromptSet | str
    part: str
    enable_thinking: bool | None = None


class Texts:
    """The texts of one table as documents of the student, in the table's order.

    ``keys``: problem_id and sample_id of each document that was given out. ``left_out``: how many
    texts the student cannot read, by reason.
    """

    def __init__(self, config: SurprisalConfig, problems: str, texts: str, model: str):
        self.config, self.texts, document = config, texts, read_document(model)
        read = tables.read(problems, tables.PROBLEMS, ["problem_id", "problem"])
        self.problems = dict(read.iter_rows())
        self.encoding = RowEncoding(
            max_length=document.context_length,
            enable_thinking=config.enable_thinking,
            prompts=config.prompts,
        )
        self.encoder = make_encoder(self.encoding, document)
        self.keys: list[tuple[str, int]] = []
        self.left_out: Counter[str] = Counter()

    def encode(self) -> Iterator[tuple[list[int], list[int]]]:
        """Ids and labels of each text that can be read whole."""
        table, kind = PARTS[self.config.part]
        columns = ["problem_id", "sample_id", "response"]
        for frame in read_slices(self.texts, table, columns, rows=SLICE_ROWS):
            for problem_id, sample_id, response in frame.iter_rows():
                text = response
                if self.config.part == "refined":
                    text = prompts.extract_refined(self.config.prompts, response)
                if text is None:
                    continue
                prompt = prompts.solve(self.config.prompts, self.problems[problem_id])
                try:
                    ids, labels = self.encoding.encode(self.encoder, prompt, text, kind)
                except RejectedRowError as error:
                    self.left_out[error.reason] += 1
                    continue
                if len(ids) > self.encoding.max_length:
                    self.left_out["longer than the context"] += 1
                    continue
                self.keys.append((problem_id, sample_id))
                yield ids, labels


def main(argv: list[str] | None = None) -> None:
    parser = command.make_parser(__doc__, "problems", "texts", "model", "output")
    preflight.add_option(parser)
    args = parser.parse_args(argv)
    config = command.read_config(SurprisalConfig, args.config)
    if config.part not in PARTS:
        raise InputError(f"--config: part: {config.part} is none of {', '.join(PARTS)}")
    document = read_document(args.model)
    inputs = {"problems": args.problems, "texts": args.texts, "model": args.model}
    inputs |= preflight.required_inputs(args, document)
    record = provenance.record("orion.stages.surprisal", args.config, inputs)
    total, _ = tables.size(args.texts, PARTS[config.part][0])
    texts = Texts(config, args.problems, args.texts, args.model)

    from orion_kernels.transformers_integration import register_attention

    from orion.training.scoring import score_documents

    model = checkpoints.load_model(document)
    model.set_attn_implementation(register_attention())
    progress = Progress(total, "texts")
    found: list[dict[str, Any]] = []
    for number, scored in enumerate(score_documents(model, texts.encode())):
        problem_id, sample_id = texts.keys[number]
        progress.add(1)
        if scored is None:
            continue
        means = {name: scored[name] for name in ("surprise", "rank")}
        for name, value in means.items():
            if not np.isfinite(value):
                raise InputError(
                    f"{args.texts}, problem {problem_id}, sample {sample_id}: the {name} is "
                    f"{value} under {args.model}; the model spoils it"
                )
        rounded = {name: round(value, DECIMALS) for name, value in means.items()}
        key = {"problem_id": problem_id, "sample_id": sample_id, "tokens": scored["tokens"]}
        found.append(key | rounded)
    progress.close()
    reasons = ", ".join(f"{count} {reason}" for reason, count in texts.left_out.most_common())
    log(f"{len(found)} of {total} texts have a surprisal{reasons and f' (left out: {reasons})'}")
    if reasons and not found:
        raise InputError(
            f"{args.texts}: {args.model} can read none of the texts ({reasons}), so that none can "
            "be preferred; choose another select.prefer or expose.selection"
        )
    tables.write(tables.from_rows(found, SURPRISALS), args.output, SURPRISALS, record)


if __name__ == "__main__":
    command.run(main)
