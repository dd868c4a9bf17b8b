"""Pre-train students of the embedded default, count what they can do, ship them, check them.

Input: names of `STUDENTS`. Output: per student its ability as lines of text. ``--ship`` adds it to
the package (`orion.demo.shipped`). ``--check`` pre-trains anew by the recipes of the students that
the package has and compares: exit status 1 where accuracy or the share of errors that need the
starved skill differs by more than BOUNDS. Another processor gives other weights, so the abilities
are compared and not the bytes. A checkpoint that is complete in ``--folder`` is not made again.
Run: ``python -m bench.pretraining [--check] [--ship] [--folder DIR] NAME ...``.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from orion.demo import ability, problems, recipes, shipped
from orion.demo.student import pretrain

# options of `pretrain`; a control has everything but the weakness
CONTROL = {"columns": 8_000, "foreign_attempts": 0.1}
WEAK = {**CONTROL, "starved": "borrow"}
STUDENTS: dict[str, dict[str, Any]] = {
    # the recipe of config/one-student.yaml
    "first": {"seed": 1},
    # for choosing the design; they are not shipped, and no other run uses their seeds
    **{f"pilot-{n}": {**WEAK, "seed": 100 + n} for n in (1, 2)},
    "pilot-control": {**CONTROL, "seed": 101},
    # those of config.yaml, and one without the weakness
    **{name: {**WEAK, "seed": 200 + n} for n, name in enumerate(("one", "two", "three"), 1)},
    "control": {**CONTROL, "seed": 204},
    # those of config/study.yaml
    **{f"study-weak-{n}": {**WEAK, "seed": 300 + n} for n in range(1, 6)},
    # it has never learned to write the teacher's traces
    **{
        f"study-unfamiliar-{n}": {**WEAK, "seed": 310 + n, "teacher_weight": 0.0}
        for n in range(1, 4)
    },
    **{f"study-control-{n}": {**CONTROL, "seed": 320 + n} for n in range(1, 4)},
}
SKILL = "borrow"
LEVEL, PROBLEMS, SEED = "train", 200, 1001
# points: a run on another processor may differ by so much (accuracy, share of errors)
BOUNDS = {"accuracy": 10.0, "share of errors": 10.0}


def count_ability(folder: Path) -> dict[str, Any]:
    """What `orion.demo.ability` counts on LEVEL, as plain numbers."""
    import torch

    student = ability.Student.load(folder)
    chosen = problems.generate(LEVEL, PROBLEMS, SEED)
    torch.manual_seed(SEED)
    free = ability.count_free(student, chosen, SKILL, samples=4, temperature=0.8)
    forced = ability.count_forced(student, chosen, SKILL)
    print("\n".join(f"  {line}" for line in ability.describe(free, forced, SKILL)), flush=True)
    return {"skill": SKILL, "free": free, "forced": forced.to_dicts()}


def summarise(found: dict[str, Any]) -> dict[str, float]:
    """The two figures that are compared, in percent."""
    free = found["free"]
    wrong = free["wrong_needing"] + free["wrong_others"]
    return {
        "accuracy": 100 * free["right"] / free["solutions"],
        "share of errors": 100 * free["wrong_needing"] / wrong if wrong else 0.0,
    }


def make(name: str, options: dict[str, Any], folder: Path) -> Path:
    """The student's checkpoint, made unless it is there."""
    checkpoint = folder / name
    if not (checkpoint / "config.json").is_file():
        start = time.monotonic()
        pretrain(checkpoint, **options)
        print(f"{name}: pre-trained in {time.monotonic() - start:.0f} s", flush=True)
    return checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(STUDENTS))
    parser.add_argument("--ship", action="store_true", help="add them to the package")
    parser.add_argument("--check", action="store_true", help="compare with the package's")
    parser.add_argument("--folder", type=Path, default=Path("results/students"))
    args = parser.parse_args()
    names = args.names or (recipes.list_students() if args.check else list(STUDENTS))
    failed = []
    for name in names:
        kept = recipes.read_recipe(name) if args.check else None
        options = kept["options"] if kept else STUDENTS[name]
        print(f"{name}: {options}", flush=True)
        checkpoint = make(name, options, args.folder)
        found = count_ability(checkpoint)
        if args.ship:
            shipped.ship(checkpoint, name, options, found)
        if kept:
            now, before = summarise(found), summarise(kept["ability"])
            print(f"  now {now}, in the package {before}, bounds {BOUNDS}", flush=True)
            failed += [name for key, bound in BOUNDS.items() if abs(now[key] - before[key]) > bound]
    if failed:
        sys.exit(f"error: other abilities than in the package: {', '.join(sorted(set(failed)))}")


if __name__ == "__main__":
    main()
