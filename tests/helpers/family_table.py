"""What every model family passes before it is supported: the tables of docs/models.md.

Run: ``python -m tests.helpers.family_table`` tries all of them, prints what it measured, and writes
the tables anew.
"""

import json
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from orion_kernels import Packing
from orion_kernels.transformers_integration import causal_lm_loss, register_attention

from orion.engines import Request, RuntimeOptions, Sampling, open_engine
from orion.engines.tokens import encode_prompts
from orion.models import checkpoints, templates, training_checkpoints
from orion.models.document import ModelDocument
from orion.models.families import FAMILIES, REFUSED, SLIDING, Family, check_family
from orion.models.training_documents import DocumentEncoder
from orion.training.loading import load_trainable_model
from orion.training.settings import LoraConfig, TrainConfig
from tests.helpers.family_models import SAMPLES, Sample, write_checkpoint
from tests.helpers.template_table import format_table, replace_section

PAGE = Path(__file__).parents[2] / "docs/models.md"
TOLERANCE = 1e-5
STEPS = 2
ROWS = {
    "What is 6 * 7?": "6 * 7 = 42, so it is \\boxed{42}.",
    "2 + 2": "4",
    "A train goes 30 km in 20 minutes. How far does it go in an hour?": "20 minutes are a third of "
    "an hour.\n\n3 * 30 = 90, so it is \\boxed{90}.",
}
TRAINING = {
    "method": "full", "learning_rate": 1e-3, "betas": [0.9, 0.999], "weight_decay": 0.0,
    "epochs": 1, "batch_sequences": 1, "warmup_fraction": 0.0, "schedule": "linear",
    "max_grad_norm": 1.0, "dtype": "float32", "gradient_checkpointing": False, "seed": 1,
}  # fmt: skip
NEW_TOKENS = 12


class Trial:
    """One family's checkpoint in a folder, and what it is tried on."""

    def __init__(self, sample: Sample, folder: Path, *, base: Any = None):
        """``base``: a real tokenizer that gets the template's control tokens."""
        self.folder = folder
        write_checkpoint(sample, folder / "base", base)
        config = json.loads((folder / "base/config.json").read_text(encoding="utf-8"))
        self.family: Family = check_family(config)
        self.document: ModelDocument = checkpoints.checkpoint_document(
            folder / "base", name=sample.model_type, dtype="float32", prompt_date="2025-01-01"
        )
        self.tokenizer = checkpoints.load_tokenizer(self.document)
        self.eos = checkpoints.eos_ids(self.document, self.tokenizer)
        encoder = DocumentEncoder(self.tokenizer, eos=self.eos, enable_thinking=None)
        self.rows = [encoder.encode(*row) for row in ROWS.items()]
        self.lengths = [len(ids) for ids, _ in self.rows]

    def packed(self) -> dict[str, Any]:
        packing = Packing.from_seq_lengths(self.lengths)
        joined = [
            torch.tensor([x for row in self.rows for x in row[side]])[None] for side in (0, 1)
        ]
        return {"input_ids": joined[0], "labels": joined[1], "packing": packing}

    def prompts(self) -> list[str]:
        return [
            templates.render(self.tokenizer, [{"role": "user", "content": question}])
            for question in ROWS
        ]


def packed_losses(model: Any, trial: Trial) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of the packed path and the losses of the trained tokens, in order."""
    batch = trial.packed()
    loss, metrics = causal_lm_loss(model, position_ids=batch["packing"].position_ids[None], **batch)
    return loss, -metrics.logprob[metrics.valid]


def eager_losses(model: Any, trial: Trial) -> tuple[torch.Tensor, torch.Tensor]:
    """The same by the library alone: padded rows, its own eager attention and its own loss."""
    width = max(trial.lengths)
    padded = [
        [[*row, *[fill] * (width - len(row))] for row in rows]
        for rows, fill in (
            ([ids for ids, _ in trial.rows], 0),
            ([labels for _, labels in trial.rows], -100),
            ([[1] * n for n in trial.lengths], 0),
        )
    ]
    ids, labels, mask = map(torch.tensor, padded)
    out = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False)
    targets = labels[:, 1:].flatten()
    losses = torch.nn.functional.cross_entropy(
        out.logits[:, :-1].flatten(0, 1), targets, reduction="none"
    )
    return out.loss, losses[targets != -100]


def load_eager(document: ModelDocument) -> Any:
    model = checkpoints.load_model(document, "cpu")
    model.set_attn_implementation("eager")
    if model._can_set_experts_implementation():
        model.set_experts_implementation("eager")
    return model


def step_down(model: Any, loss: torch.Tensor) -> None:
    """One step of gradient descent; unlike AdamW it does not blow up differences of rounding."""
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
                parameter.grad = None


def try_training(trial: Trial) -> tuple[float, Any]:
    """Two steps packed beside two steps of the library: the largest relative difference of a loss.

    Of each trained token's loss and of the whole loss, before, between and behind the steps.
    """
    packed = load_trainable_model(trial.document, TrainConfig(**TRAINING)).train()
    eager = load_eager(trial.document).train()
    worst, first = 0.0, None
    for step in range(STEPS + 1):
        ours, theirs = packed_losses(packed, trial), eager_losses(eager, trial)
        for got, want in zip(ours, theirs, strict=True):
            difference = (got - want).detach().abs() / want.detach().abs().clamp(min=1)
            worst = max(worst, float(difference.max()))
        first = float(ours[0].detach()) if first is None else first
        if step < STEPS:
            step_down(packed, ours[0])
            step_down(eager, theirs[0])
    # otherwise the comparison would be of a model that was not trained
    assert float(ours[0].detach()) < first
    return worst, packed


def try_sampling(trial: Trial) -> bool:
    """Whether our engine's greedy answers are those of the library's ``generate``."""
    sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=NEW_TOKENS, repetition_penalty=1.0)
    options = RuntimeOptions(device="cpu", batch_size=2)
    engine = open_engine("transformers", trial.document, sampling, options)
    wanted = [Request(str(i), prompt, i) for i, prompt in enumerate(trial.prompts())]
    found = {answer.key: answer for answer in engine.generate(wanted)}
    model = checkpoints.load_model(trial.document, "cpu")
    # the library's own generate fails with it
    model.config.output_router_logits = False
    for request, ids in encode_prompts(trial.tokenizer, wanted):
        out = model.generate(
            torch.tensor([ids]),
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            # the template's end of turn too, which no file of some of these checkpoints names
            eos_token_id=sorted(trial.eos),
        )
        new = out[0, len(ids) :].tolist()
        text = trial.tokenizer.decode(new, skip_special_tokens=True)
        answer = found[request.key]
        if (answer.response, answer.completion_tokens) != (text, len(new)):
            return False
    return True


def try_documents(trial: Trial) -> bool:
    """Whether each trained document is the served prompt, the answer and one end token."""
    requests = [Request(str(i), prompt, i) for i, prompt in enumerate(trial.prompts())]
    served = [ids for _, ids in encode_prompts(trial.tokenizer, requests)]
    for (ids, labels), prompt, answer in zip(trial.rows, served, ROWS.values(), strict=True):
        words = trial.tokenizer(answer, add_special_tokens=False)["input_ids"]
        start, tail = len(prompt), ids[len(prompt) :]
        is_there = any(tail[i : i + len(words)] == words for i in range(len(tail)))
        ends = [token for token in tail if token in trial.eos]
        if ids[:start] != prompt or labels != [-100] * start + tail or not is_there:
            return False
        if ends != tail[-1:]:
            return False
    return True


def reload(trial: Trial, trained: Any, *, adapter: bool) -> bool:
    """Whether the published checkpoint or adapter has the losses of the trained model."""
    folder = trial.folder / ("adapter" if adapter else "trained")
    with torch.no_grad():
        _, before = packed_losses(trained.eval(), trial)
        training_checkpoints.publish(
            trained, trial.tokenizer, trial.document, folder, adapter=adapter
        )
        document = training_checkpoints.trained_document(
            folder, "trained", trial.document, adapter=adapter
        )
        model = checkpoints.load_model(document, "cpu")
        model.set_attn_implementation(register_attention())
        _, after = packed_losses(model, trial)
    return torch.equal(before, after)


def try_adapter(trial: Trial) -> bool:
    """The same for an adapter that is trained two steps and kept beside its base."""
    lora = LoraConfig(r=2, alpha=4, dropout=0.0, target_modules="all-linear", merge_adapter=False)
    config = TrainConfig(**{**TRAINING, "method": "lora", "lora": lora})
    model = load_trainable_model(trial.document, config).train()
    losses = []
    for _ in range(STEPS):
        loss, _ = packed_losses(model, trial)
        losses.append(float(loss.detach()))
        step_down(model, loss)
    return losses[1] < losses[0] and reload(trial, model, adapter=True)


@dataclass(frozen=True)
class Outcome:
    """What a family passed; ``difference``: the largest relative one of a token's loss."""

    family: Family
    difference: float
    sampled: bool
    documents: bool
    saved: bool
    adapter: bool

    @property
    def passes(self) -> dict[str, bool]:
        """Column of the table → whether it holds."""
        return {
            "packed = eager": self.difference <= TOLERANCE,
            "sampled = `generate`": self.sampled,
            "trained = served": self.documents,
            "saved = loaded": self.saved,
            "adapter = loaded": self.adapter,
        }


@cache
def try_family(model_type: str) -> Outcome:
    sample = next(each for each in SAMPLES if each.model_type == model_type)
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(sample, Path(folder))
        difference, trained = try_training(trial)
        return Outcome(
            trial.family,
            difference,
            sampled=try_sampling(trial),
            documents=try_documents(trial),
            saved=reload(trial, trained, adapter=False),
            adapter=try_adapter(trial),
        )


def describe(family: Family) -> str:
    """What the packed path computes for a family beside plain causal attention."""
    parts = {
        "sliding window": SLIDING in family.layers,
        "softcap of scores": family.softcap is not None,
        "sinks": family.sinks,
        "factor on logits": family.head_scale != 1,
        "softcap of logits": family.final_softcap is not None,
        "the router's loss": family.aux_loss != 0,
    }
    return ", ".join(part for part, is_there in parts.items() if is_there)


def make_table() -> str:
    rows = []
    for sample in SAMPLES:
        outcome = try_family(sample.model_type)
        passed = ["yes" if passes else "**no**" for passes in outcome.passes.values()]
        title, template = FAMILIES[sample.model_type].title, sample.vendor or "a short one"
        rows.append((title, f"`{sample.model_type}`", describe(outcome.family), template, *passed))
        columns = outcome.passes
    return format_table([("family", "`model_type`", "computed too", "template", *columns), *rows])


def make_refusals() -> str:
    reasons: dict[str, list[str]] = {}
    for model_type, reason in REFUSED.items():
        reasons.setdefault(reason, []).append(f"`{model_type}`")
    rows = [(reason, ", ".join(types)) for reason, types in reasons.items()]
    return format_table([("reason", "`model_type`"), *rows])


def write_page(page: str) -> str:
    """docs/models.md with its generated sections."""
    page = replace_section(page, "families", make_table())
    return replace_section(page, "refused", make_refusals())


if __name__ == "__main__":
    PAGE.write_text(write_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    for sample in SAMPLES:
        print(f"{sample.model_type}: {try_family(sample.model_type).difference:.1e}")
