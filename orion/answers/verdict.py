"""The five verdicts, and the record of one check: verdict, reason, deciding rule, extracted span.

Input: none. Output: the names of the verdicts, `Verdict`, and `drop_surrogates` for its texts.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

CORRECT = "correct"
INCORRECT = "incorrect"
UNPARSEABLE = "unparseable"
NO_ANSWER = "no_answer"
TIMEOUT = "timeout"
VERDICTS = (CORRECT, INCORRECT, UNPARSEABLE, NO_ANSWER, TIMEOUT)

NO_STRING = "the response or the gold is not a string"


def drop_surrogates(text: str | None) -> str | None:
    """The text with "?" for lone surrogates, which cannot be written to a file or a pipe."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of checking one response.

    verdict: one of `VERDICTS`. `incorrect` is given only where both sides were understood and
    differ. reason: a short fixed phrase. rule: the name of the rule that decided.
    extracted: `response[start:end]`. Boxes that form one list are joined by ", ". Of a text too
    long to be an answer it is the beginning. A replayed checker gives its own text and no offsets.
    normal, gold_normal: both sides printed as they were understood.
    """

    verdict: str
    reason: str = ""
    rule: str = ""
    extracted: str | None = None
    start: int | None = None
    end: int | None = None
    normal: str | None = None
    gold_normal: str | None = None

    @property
    def correct(self) -> bool:
        """Whether the response earned credit."""
        return self.verdict == CORRECT

    def as_dict(self) -> dict:
        """The fields as a plain dict of strings, integers and nulls."""
        return asdict(self)
