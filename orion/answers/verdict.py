"""The result of a check: one of five verdicts, with the reason, the method and the span it rests on.

Inputs: none. Outputs: the `Verdict` record shared by every room of the package, and `clean` for its texts. Not runnable.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

VERDICTS = ("correct", "incorrect", "unparseable", "no_answer", "timeout")


NO_STRING = "the response or the gold is not a string"


def clean(text: str | None) -> str | None:
    """The text without lone surrogates, which no file and no pipe takes."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided about one response.

    `verdict` is one of `VERDICTS`; `incorrect` is only said when both sides were understood and differ. `reason` is a short
    fixed phrase, `method` names the stage that decided. `extracted` is `response[start:end]` (boxes that form one list are
    joined by ", "; of a text too long to be an answer it is the beginning); a replayed checker gives its own text and no
    offsets. `normal` and `gold_normal` print both sides as they were understood.
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
        return self.verdict == "correct"

    def as_dict(self) -> dict:
        """The fields as a plain dict of strings, integers and nulls."""
        return asdict(self)
