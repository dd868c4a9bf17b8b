"""The promises of step checking that the fuzzer checks with `--steps`.

Input: texts made of the fuzzer's answers, hostile ones too. Output: BrokenPromiseError if
`check_steps` raises, is late, gives spans outside of the text, or answers differently twice.
"""

from __future__ import annotations

import time

from orion.answers.steps import RULES, TRUTHS, Claim, check_steps, summary
from tests.helpers.answers.fuzz_promises import (
    DEADLINE_S,
    GRACE_S,
    SHOWN,
    BrokenPromiseError,
    Promises,
    _where,
)

FRAMES = (
    "{0}",
    "{0} = {1}",
    "So ${0} = {1}$, thus {1} = {0}.",
    "\\begin{{align*}}\n{0} &= {1} \\\\\n&= {0}\n\\end{{align*}}",
    "He pays {0} * 2 = $<<{0}*2={1}>>{1}. Wait, {0} ≈ {1}.",
)
_NAMES = frozenset(rule.name for rule in RULES if rule.decides)


class StepPromises(Promises):
    """Checks the promises of `check_steps` on every frame of an example."""

    def claims(self, text: str) -> tuple[list[Claim], float]:
        """The claims of a text and the CPU seconds of this thread."""
        begun = time.thread_time()
        try:
            claims = check_steps(text, timeout_s=DEADLINE_S)
        except Exception as error:
            raise BrokenPromiseError(
                f"check_steps raised {type(error).__name__} {_where(error)}", str(error)[:SHOWN]
            ) from error
        self.checks += 1
        return claims, time.thread_time() - begun

    def examine(self, response: str, gold: str, replay: bool) -> None:
        """Checks one example in all frames; raises BrokenPromiseError."""
        del replay
        for frame in FRAMES:
            text = frame.format(response, gold)
            claims, seconds = self.claims(text)
            # a single late answer may be caused by a busy machine
            if (
                seconds > DEADLINE_S + GRACE_S
                and (again := self.claims(text)[1]) > DEADLINE_S + GRACE_S
            ):
                raise BrokenPromiseError("late", f"{seconds:.2f} s and {again:.2f} s")
            self.spans(text, claims)
            self.verdicts.update(claim.truth for claim in claims)
            if not any(claim.rule == "deadline" for claim in claims) and seconds < DEADLINE_S / 4:
                second = self.claims(text)[0]
                if second != claims and not any(claim.rule == "deadline" for claim in second):
                    raise BrokenPromiseError("twice is not the same", repr(text)[:SHOWN])
        if over := self.memory.over(self.limit):
            raise BrokenPromiseError("memory", over)

    @staticmethod
    def spans(text: str, claims: list[Claim]) -> None:
        """Every claim is in the text, with a known truth and rule; the summary counts them."""
        for claim in claims:
            if not 0 <= claim.start < claim.end <= len(text):
                raise BrokenPromiseError("a span outside of the text", str(claim)[:SHOWN])
            if claim.text != text[claim.start : claim.end]:
                raise BrokenPromiseError("text is not the span", str(claim)[:SHOWN])
            if claim.truth not in TRUTHS or claim.rule not in _NAMES:
                raise BrokenPromiseError("unknown truth or rule", str(claim)[:SHOWN])
        total = summary(claims)
        if total.true + total.false + total.unknown != len(claims):
            raise BrokenPromiseError("the summary loses claims", str(total))
