"""The students that come with the package, so that a run starts from the same ones everywhere.

Input: the name of a student. Output: an ordinary checkpoint folder, as `orion.demo.student` writes
it. The weights of each lie in `students/` in bfloat16, beside the recipe that made them
(`orion.demo.recipes`). Run: ``python -m orion.demo.shipped --config JSON --output DIR``.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from orion.demo import recipes
from orion.demo.student import DEFAULTS, build_student
from orion.demo.tokenizer import build_tokenizer
from orion.errors import InputError
from orion.paths import partial_path
from orion.progress import log
from orion.provenance import digest_file

# of the weights of one student
LARGEST_BYTES = 2_000_000


def unpack(name: str, output: Path) -> None:
    """Write a student as a checkpoint in float32, which appears by rename once it is complete.

    Raises InputError for a name that no student has, and where the weights are not those that the
    recipe names.
    """
    recipe = recipes.read_recipe(name)
    weights = recipes.FOLDER / name / recipes.WEIGHTS
    if digest_file(weights) != recipe["sha256"]:
        raise InputError(
            f"{weights}: not the weights that {recipes.RECIPE} names; install the package again"
        )
    options = DEFAULTS | recipe["options"]
    tokenizer = build_tokenizer(options["max_length"])
    model = build_student(tokenizer, options)
    found = model.load_state_dict(load_file(weights), strict=False)
    # the head is tied to the embedding and so has no weights of its own
    if found.unexpected_keys or found.missing_keys != ["lm_head.weight"]:
        raise InputError(f"{weights}: not the weights of the options in {recipes.RECIPE}: {found}")
    partial = partial_path(output)
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    shutil.rmtree(output, ignore_errors=True)
    os.replace(partial, output)
    log(f"student {name}: {sum(p.numel() for p in model.parameters()):,} parameters")


def ship(checkpoint: Path, name: str, options: dict[str, Any], ability: dict[str, Any]) -> None:
    """Add the student of a checkpoint to the package's folder, or replace it.

    Raises ValueError where its weights take more than LARGEST_BYTES.
    """
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    # named_parameters has tied weights once
    weights = {n: p.detach().to(torch.bfloat16).contiguous() for n, p in model.named_parameters()}
    size = sum(each.numel() * each.element_size() for each in weights.values())
    if size > LARGEST_BYTES:
        raise ValueError(f"{checkpoint}: {size} bytes in bfloat16, more than {LARGEST_BYTES}")
    folder = recipes.FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / recipes.WEIGHTS)
    digest = digest_file(folder / recipes.WEIGHTS)
    recipe = {"options": options, "sha256": digest, "ability": ability}
    (folder / recipes.RECIPE).write_text(json.dumps(recipe, indent=1, sort_keys=True) + "\n")


def main(argv: list[str] | None = None) -> None:
    """Parse the arguments and write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help='a JSON object: {"student": NAME}')
    parser.add_argument("--output", required=True, type=Path, help="checkpoint folder to write")
    args = parser.parse_args(argv)
    try:
        unpack(json.loads(args.config)["student"], args.output)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
