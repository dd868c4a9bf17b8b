r"""What the embedded student can do: its answers, where they go wrong, each step in both forms.

Input: a checkpoint folder, a level, a skill. Output: counts by whether a step needs the skill.
Free: solutions are sampled as in the rule sample, and the first wrong step of each is found.
Forced: the true chain up to a step, then `=` or `:`, and whether the step is completed rightly; so
both forms are seen, whichever the student prefers.
Run: ``python -m orion.demo.ability results/models/tiny/checkpoint``.
"""

import argparse
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from orion.demo import problems
from orion.demo.curriculum import START, TURN
from orion.demo.error_coverage import detailed_steps, first_wrong_step
from orion.demo.oracle import read_chain
from orion.demo.problems import Problem
from orion.demo.skills import SKILLS, needing_steps

FORMS = {"short": "=", "detailed": ":"}
BATCH = 256
STEP_TOKENS = 64  # a step by columns has at most 40


@dataclass(frozen=True)
class Student:
    """A loaded checkpoint."""

    model: Any
    tokenizer: Any

    @classmethod
    def load(cls, folder: str | Path) -> "Student":
        """Raises OSError where the folder is no checkpoint."""
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        return cls(model.eval(), AutoTokenizer.from_pretrained(folder))

    def ask(self, problem: Problem) -> str:
        """The prompt of the rule sample, which the chat template renders to this text."""
        return f"{START} Question: {problem.problem} {TURN}"

    def complete(
        self, texts: Sequence[str], *, max_tokens: int, until: str | None, temperature: float
    ) -> Iterator[str]:
        """One continuation per text, in order; ``until``: a word that ends it. 0: greedy."""
        ends = [self.tokenizer.eos_token_id]
        ends += [self.tokenizer.convert_tokens_to_ids(until)] if until else []
        drawn: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None}
        if temperature:
            drawn = {"do_sample": True, "temperature": temperature}
        for start in range(0, len(texts), BATCH):
            rows = self.tokenizer(
                list(texts[start : start + BATCH]), padding=True, return_tensors="pt"
            )
            with torch.inference_mode():
                found = self.model.generate(
                    **rows,
                    **drawn,
                    max_new_tokens=max_tokens,
                    eos_token_id=ends,
                    pad_token_id=self.tokenizer.pad_token_id,
                )
            width = rows["input_ids"].shape[1]
            yield from self.tokenizer.batch_decode(found[:, width:], skip_special_tokens=True)


def count_free(
    student: Student, chosen: Sequence[Problem], skill: str, *, samples: int, temperature: float
) -> dict[str, int]:
    """Of ``samples`` solutions per problem: right ones, and the first wrong step of the others.

    ``slips``: wrong, although every step of the chain is right. ``detailed_needing``,
    ``detailed_others``: steps that were written out.
    """
    asked = [problem for problem in chosen for _ in range(samples)]
    counts = dict.fromkeys(
        (
            "solutions",
            "right",
            "wrong_needing",
            "wrong_others",
            "slips",
            "steps_needing",
            "steps_others",
            "detailed_needing",
            "detailed_others",
        ),
        0,
    )
    texts = student.complete(
        [student.ask(problem) for problem in asked],
        max_tokens=128,
        until=None,
        temperature=temperature,
    )
    for problem, text in zip(asked, texts, strict=True):
        steps = read_chain(problem.meta)
        needing = needing_steps(skill, steps)
        wrong = first_wrong_step(problem.meta, text)
        answer = text.rpartition("\\boxed{")[2].rpartition("}")[0].strip()
        counts["solutions"] += 1
        counts["right"] += answer == problem.answer
        if answer != problem.answer:
            name = "slips" if wrong is None else _name("wrong", wrong in needing)
            counts[name] += 1
        written = detailed_steps(text)
        for i in range(len(steps)):
            counts[_name("steps", i in needing)] += 1
            counts[_name("detailed", i in needing)] += i in written
    return counts


def _name(what: str, needs: bool) -> str:
    return f"{what}_{'needing' if needs else 'others'}"


def count_forced(student: Student, chosen: Sequence[Problem], skill: str) -> pl.DataFrame:
    """Every step of every problem in both forms, after the true steps before it, greedily.

    Columns: needs (the skill), form, steps, right (result and, by columns, each column).
    """
    texts, wanted, keys = [], [], []
    for problem in chosen:
        steps = read_chain(problem.meta)
        needing = needing_steps(skill, steps)
        for i, step in enumerate(steps):
            before = [problems.write_step(each) for each in steps[:i]]
            for form, sign in FORMS.items():
                opening = f"{step.left} {step.op} {step.operand} {sign}"
                texts.append(" ".join([student.ask(problem), *before, opening]))
                whole = problems.write_step(step, detailed=form == "detailed")
                wanted.append(whole.removeprefix(opening))
                keys.append((i in needing, form))
    found = student.complete(texts, max_tokens=STEP_TOKENS, until=";", temperature=0.0)
    rows = [
        (*key, "".join(text.split()).rstrip(";") == "".join(right.split()).rstrip(";"))
        for key, text, right in zip(keys, found, wanted, strict=True)
    ]
    table = pl.DataFrame(rows, ["needs", "form", "right"], orient="row")
    return (
        table.group_by("needs", "form")
        .agg(steps=pl.len(), right=pl.col("right").sum())
        .sort("needs", "form")
    )


def describe(free: dict[str, int], forced: pl.DataFrame, skill: str) -> list[str]:
    """The counts as lines of text."""
    wrong = free["wrong_needing"] + free["wrong_others"]
    right, solutions = free["right"], free["solutions"]
    lines = [
        f"right: {right} of {solutions} ({_share(right, solutions)})",
        f"first wrong step needs {skill}: {free['wrong_needing']} of {wrong}"
        f" ({_share(free['wrong_needing'], wrong)}); no wrong step: {free['slips']}",
    ]
    for what in ("needing", "others"):
        detailed, steps = free[f"detailed_{what}"], free[f"steps_{what}"]
        lines.append(f"written out, {what}: {detailed} of {steps} ({_share(detailed, steps)})")
    for row in forced.iter_rows(named=True):
        needs = "needing" if row["needs"] else "others"
        share = _share(row["right"], row["steps"])
        lines.append(f"{row['form']}, {needs}: {row['right']} of {row['steps']} ({share})")
    return lines


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "none"


def main(argv: list[str] | None = None) -> None:
    """Parse the arguments, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--level", default="train", choices=sorted(problems.LEVELS))
    parser.add_argument("--skill", default="borrow", choices=sorted(SKILLS))
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1001, help="of the problems and the samples")
    parser.add_argument("--temperature", type=float, default=0.8)
    args = parser.parse_args(argv)
    student = Student.load(args.checkpoint)
    chosen = problems.generate(args.level, args.problems, args.seed)
    # this process runs nothing else, so torch's global generator may draw the samples
    torch.manual_seed(random.Random(f"ability|{args.seed}").getrandbits(32))
    free = count_free(
        student, chosen, args.skill, samples=args.samples, temperature=args.temperature
    )
    print("\n".join(describe(free, count_forced(student, chosen, args.skill), args.skill)))


if __name__ == "__main__":
    main()
