"""Pre-train the tiny student from scratch on two processes and write it as an ordinary checkpoint.

Input: a JSON object of `pretrain`'s keyword arguments. Output: a folder with config.json,
model.safetensors, generation_config.json and the tokenizer with its chat template. The folder
appears by rename once it is complete.

    python -m orion.demo.student --config '{"seed": 1}' --output results/student

Matrices are trained with Muon, all other parameters with AdamW. Two processes of one thread each
share every batch, whatever the number of cores, so that the result depends only on the processor's
arithmetic.
"""

import argparse
import json
import math
import os
import shutil
import tempfile
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from orion.demo.curriculum import Piece, Recipe, make_curriculum
from orion.demo.skills import SKILLS
from orion.demo.tokenizer import build_tokenizer
from orion.progress import Progress, log

SHARDS = 2
DEFAULTS = {
    "seed": 1,
    "plain": 33_000,
    "reflections": 8_500,
    "drills": 14_000,
    "plain_first": 0.2,
    "teacher_weight": 0.3,
    "judgement_weight": 4.0,
    "columns": 0,
    "starved": None,
    "foreign_attempts": 0.0,
    "hidden": 128,
    "layers": 4,
    "heads": 4,
    "kv_heads": 2,
    "feedforward": 384,
    "max_length": 512,
    "lr": 3e-3,
    "warmup": 60,
    "constant": 0.4,
    "final_lr": 0.02,
    "batch_tokens": 3072,
    "precision": "auto",
}


def pretrain(output_dir: str | Path, *, log_every_s: float = 10.0, **options) -> None:
    """Train a student with `DEFAULTS` overridden by `options` and write it to `output_dir`.

    seed: of all randomness. plain, reflections, drills, columns: numbers of examples. plain_first:
    the share of plain examples and drills before the first reflection. teacher_weight,
    judgement_weight: loss weights of the tokens of the teacher's trace, and of `ok` and `wrong`.
    starved, foreign_attempts: see `curriculum.Recipe`. batch_tokens: padded tokens per step, over
    both processes. lr rises over `warmup` steps, is constant up to the share
    `constant` of all steps, then falls linearly to `final_lr` * lr. precision: auto (bfloat16 where
    the processor multiplies it natively), float32 or bfloat16.

    Raises TypeError for an unknown option, ValueError for an unknown precision or skill, a share
    outside of 0..1, FileExistsError if
    `output_dir` contains something other than a checkpoint. An earlier checkpoint is replaced once
    the new one is complete.
    """
    unknown = sorted(options.keys() - DEFAULTS.keys())
    if unknown:
        raise TypeError(f"unknown options: {', '.join(unknown)}")
    settings = DEFAULTS | options
    if settings["precision"] not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"precision is auto, float32 or bfloat16, not {settings['precision']!r}")
    if settings["starved"] is not None and settings["starved"] not in SKILLS:
        raise ValueError(f"starved is one of {', '.join(SKILLS)}, not {settings['starved']!r}")
    if not 0 <= settings["foreign_attempts"] <= 1:
        raise ValueError(
            f"foreign_attempts is a share from 0 to 1, not {settings['foreign_attempts']}"
        )
    output = Path(output_dir).absolute()
    if output.exists() and any(output.iterdir()) and not (output / "config.json").exists():
        raise FileExistsError(f"{output} exists and is not a checkpoint")
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as rendezvous:
        mp.start_processes(
            _worker,
            (f"file://{rendezvous}/store", settings, str(partial), log_every_s, os.getpid()),
            SHARDS,
            start_method="spawn",
        )
    if output.exists():
        shutil.rmtree(output)
    partial.rename(output)


def _worker(
    shard: int, rendezvous: str, settings: dict, output: str, log_every_s: float, parent: int
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rendezvous, timedelta(minutes=10), SHARDS, shard)
    tokenizer = build_tokenizer(settings["max_length"])
    # this process runs nothing else, so its global generator may make the initial weights
    torch.manual_seed(settings["seed"])
    model = build_student(tokenizer, settings)
    train(model, load_batches(tokenizer, settings, shard), settings, shard, log_every_s, parent)
    if shard == 0:
        model.save_pretrained(output)
        tokenizer.save_pretrained(output)
    dist.barrier()
    dist.destroy_process_group()


def build_student(tokenizer: PreTrainedTokenizerFast, settings: dict) -> LlamaForCausalLM:
    """A randomly initialised Llama of the sizes in `settings`, from torch's global generator.

    Not Qwen2 (the same architecture except for a bias): `AutoTokenizer` loads the Qwen2 tokenizer
    for every Qwen2 checkpoint.
    """
    ends = {
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings["hidden"],
        num_hidden_layers=settings["layers"],
        num_attention_heads=settings["heads"],
        num_key_value_heads=settings["kv_heads"],
        intermediate_size=settings["feedforward"],
        max_position_embeddings=settings["max_length"],
        tie_word_embeddings=True,
        **ends,
    )
    model = LlamaForCausalLM(config)
    # the default of transformers, top_k=50, would change the distribution
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, top_p=1.0, **ends
    )
    return model


def load_batches(
    tokenizer: PreTrainedTokenizerFast, settings: dict, shard: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of one shard in order: token ids, loss weights, both (rows, length), right-padded."""
    recipe = Recipe(**{field.name: settings[field.name] for field in fields(Recipe)})
    phases = make_curriculum(recipe, shard, SHARDS)
    batches = []
    for examples in phases:
        rows = encode_examples(tokenizer, examples, settings["judgement_weight"])
        batches += make_batches(rows, settings["batch_tokens"] // SHARDS, tokenizer.pad_token_id)
    return batches


def encode_examples(
    tokenizer: PreTrainedTokenizerFast, examples: list[list[Piece]], judgement_weight: float
) -> list[tuple[list[int], list[float]]]:
    """Per example: token ids, and the loss weight of each token as a target."""
    judgements = {tokenizer.get_vocab()[word] for word in ("ok", "wrong")}
    pieces = [piece for example in examples for piece in example]
    # word-level tokens do not depend on their neighbours, so pieces can be encoded separately
    encoded = iter(tokenizer([piece.text for piece in pieces])["input_ids"] if pieces else [])
    rows = []
    for example in examples:
        ids: list[int] = []
        weights: list[float] = []
        for piece in example:
            part = next(encoded)
            ids += part
            weights += [piece.weight * (judgement_weight if i in judgements else 1.0) for i in part]
        rows.append((ids, weights))
    return rows


def make_batches(
    rows: list[tuple[list[int], list[float]]], batch_tokens: int, pad: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of about `batch_tokens` padded tokens, in the order in which they became full.

    Lengths are rounded up to multiples of eight, and all full batches of a length have the same
    number of rows: the matrix library prepares each new shape at the cost of several
    multiplications, so there must be few shapes.
    """
    batches = []
    waiting: dict[int, list] = {}
    for row in rows:
        length = -(-len(row[0]) // 8) * 8
        group = waiting.setdefault(length, [])
        group.append(row)
        if len(group) == max(1, batch_tokens // length):
            batches.append(stack_rows(waiting.pop(length), length, pad))
    return batches + [stack_rows(group, length, pad) for length, group in sorted(waiting.items())]


def stack_rows(
    rows: list[tuple[list[int], list[float]]], length: int, pad: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and weights as tensors, (rows, length), right-padded."""
    ids = torch.tensor([ids + [pad] * (length - len(ids)) for ids, _ in rows])
    weights = torch.tensor([weights + [0.0] * (length - len(weights)) for _, weights in rows])
    return ids, weights


def train(
    model, batches: list, settings: dict, shard: int, log_every_s: float, parent: int
) -> None:
    """Data-parallel training; all processes end with the same weights."""
    common = torch.tensor(len(batches))
    dist.all_reduce(common, dist.ReduceOp.MIN)
    steps = int(common)
    use_bfloat16 = settings["precision"] == "bfloat16" or (
        settings["precision"] == "auto" and has_native_bfloat16()
    )
    optimizers, owners = make_optimizers(model, settings["lr"], shard)
    parameters = list(model.parameters())
    progress = Progress(steps, "steps", every_s=log_every_s) if shard == 0 else None
    loss = math.nan
    for step, (ids, weights) in enumerate(batches[:steps]):
        if os.getppid() != parent:
            raise SystemExit("the parent process is gone")
        rate = learning_rate(step, steps, settings)
        # for rows this short the backward pass of fused attention takes longer than the rest of
        # the model
        with (
            sdpa_kernel(SDPBackend.MATH),
            torch.autocast("cpu", torch.bfloat16, enabled=use_bfloat16),
        ):
            hidden = model.model(input_ids=ids).last_hidden_state  # (rows, length, hidden)
            # with so small a vocabulary, skipping positions of weight 0 costs more than it saves
            logits = model.lm_head(hidden).float()  # (rows, length, vocabulary)
        losses = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
        )
        targets = weights[:, 1:].flatten()
        total = (losses * targets).sum()
        total.backward()
        loss = average_gradients(parameters, total.detach(), targets.sum())
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        broadcast_weights(owners)
        model.zero_grad()
        if progress:
            progress.add(1, f"loss {loss:.3f}", tokens=ids.numel() * SHARDS)
    if progress:
        progress.close()
        log(f"{steps} steps in {progress.seconds:.0f} s, loss of the last {loss:.3f}")


def average_gradients(
    parameters: list[torch.Tensor], loss: torch.Tensor, weight: torch.Tensor
) -> float:
    """Turn gradients of summed losses into those of the mean over all shards; return that mean."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([*(grad.flatten() for grad in gradients), torch.stack([loss, weight])])
    dist.all_reduce(flat)
    flat /= flat[-1].clone()
    for grad, shared in zip(
        gradients, flat[:-2].split([grad.numel() for grad in gradients]), strict=True
    ):
        grad.copy_(shared.view_as(grad))
    return float(flat[-2])


def make_optimizers(
    model, lr: float, shard: int
) -> tuple[list[torch.optim.Optimizer], list[list[torch.Tensor]]]:
    """Muon for this shard's matrices, AdamW for the rest; and the matrices by owning shard."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    # orthogonalising is a fifth of a step's arithmetic, so each process does half of the matrices
    owners: list[list[torch.Tensor]] = [[] for _ in range(SHARDS)]
    for p in sorted(matrices, key=lambda p: -p.numel()):
        min(owners, key=lambda owned: sum(q.numel() for q in owned)).append(p)
    muon = torch.optim.Muon(
        owners[shard], lr=lr, momentum=0.95, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"
    )
    return [
        muon,
        torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ], owners


def broadcast_weights(owners: list[list[torch.Tensor]]) -> None:
    """Send each matrix, as its owner has updated it, to all processes."""
    for owner, owned in enumerate(owners):
        flat = torch.cat([p.data.flatten() for p in owned])
        dist.broadcast(flat, owner)
        for p, values in zip(owned, flat.split([p.numel() for p in owned]), strict=True):
            p.data.copy_(values.view_as(p))


def learning_rate(step: int, steps: int, settings: dict) -> float:
    """Linear warm-up, a plateau, a linear descent."""
    lr, constant, final = settings["lr"], settings["constant"], settings["final_lr"]
    if step < settings["warmup"]:
        return lr * (step + 1) / settings["warmup"]
    done = (step / steps - constant) / (1 - constant)
    return lr * (1 - (1 - final) * max(0.0, done))


def has_native_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware; if not, autocast is slower."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))


def main(argv: list[str] | None = None) -> None:
    """Parse the arguments and pre-train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config", default="{}", help="options as a JSON object; missing ones have their defaults"
    )
    parser.add_argument("--output", required=True, type=Path, help="checkpoint folder to write")
    parser.add_argument(
        "--log-every", default=10.0, type=float, help="seconds between progress lines"
    )
    args = parser.parse_args(argv)
    pretrain(args.output, log_every_s=args.log_every, **json.loads(args.config))


if __name__ == "__main__":
    main()
