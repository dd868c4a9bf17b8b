"""Text rules of a field: remove, replace, cut at a marker, extract the answer.

They are applied in the order remove, remove_patterns, replace, after, before, extract, whatever
the order in the configuration. A rule that finds no answer rejects the row.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orion.errors import InputError

EXTRACTIONS = ("hashes", "boxed")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")


class RuleError(ValueError):
    """A text that a rule cannot be applied to; the message says why."""


@dataclass(frozen=True)
class TextRules:
    """The rules of one field; see config/README.md for each."""

    remove: list[str] = field(default_factory=list)
    remove_patterns: list[str] = field(default_factory=list)
    replace: list[list[str]] = field(default_factory=list)
    after: str | None = None
    before: str | None = None
    extract: str | None = None

    def __post_init__(self) -> None:
        for pattern in self.remove_patterns:
            check_pattern(pattern, "remove_patterns")

    def apply(self, text: str) -> str:
        """The text after all rules. Raises RuleError where a marker or an answer is not there."""
        for piece in self.remove:
            text = text.replace(piece, "")
        for pattern in self.remove_patterns:
            text = pc.replace_substring_regex(pa.scalar(text), pattern, "").as_py()
        for old, new in self.replace:
            text = text.replace(old, new)
        if self.after is not None:
            _, found, text = text.rpartition(self.after)
            if not found:
                raise RuleError(f"the marker {self.after!r} is not in the text")
        if self.before is not None:
            text = text.partition(self.before)[0]
        if self.extract == "hashes":
            text = extract_hashes(text)
        elif self.extract == "boxed":
            text = extract_boxed(text)
        return text.strip()


def check_pattern(pattern: str, place: str) -> None:
    """Raises InputError where a pattern is not one of RE2, whose time is linear in the text."""
    try:
        pc.match_substring_regex(pa.scalar(""), pattern)
    except pa.ArrowException as error:
        raise InputError(f"{place}: {pattern!r} is no pattern of RE2 ({error})") from None


def matches(text: str, pattern: str) -> bool:
    """Whether a pattern of RE2 is found anywhere in the text."""
    return bool(pc.match_substring_regex(pa.scalar(text), pattern).as_py())


def extract_hashes(text: str) -> str:
    """The answer behind the last ``####``, as GSM8K writes it."""
    _, found, rest = text.rpartition("####")
    answer = rest.strip().partition("\n")[0].strip()
    if not found or not answer:
        raise RuleError("no answer behind #### in the text")
    return answer


def extract_boxed(text: str) -> str:
    r"""The content of the last ``\boxed{...}``."""
    starts = list(_BOX.finditer(text))
    if not starts:
        raise RuleError("no \\boxed{...} in the text")
    start = starts[-1].end()
    depth = 1
    for match in re.finditer(r"\\.|[{}]", text[start:], re.DOTALL):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            content = text[start : start + match.start()].strip()
            if content:
                return content
            break
    raise RuleError("the last \\boxed{...} is empty or not closed")


def from_block(block: dict[str, Any]) -> TextRules:
    """The rules of a field's block, which `orion.config` validated."""
    known = {key: value for key, value in block.items() if key != "from" and value is not None}
    return TextRules(**known)
