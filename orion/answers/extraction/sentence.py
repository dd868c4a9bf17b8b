"""The value in a sentence that stands where a value was asked for, such as in a box.

Input: the content of a box or another extracted text. Output: the text of its value, or None.
"""

from __future__ import annotations

import re

from orion.answers.extraction.answer_markers import find_stated_answer
from orion.answers.extraction.surrounding_text import refusing_cue_before, refusing_cue_behind
from orion.answers.extraction.values_in_text import find_last_value

MAX_SENTENCE = 400
_TEXT = re.compile(r"\\(?:text(?:bf|it|rm)?|mathrm|mbox)\s*\{([^{}]*)\}")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_SPACING = re.compile(r"\\[,;:! ]|~|\\q?quad(?![A-Za-z])")


def value_of_sentence(text: str) -> str | None:
    """The value to which a sentence commits, None if it does not or is too long."""
    if len(text) > MAX_SENTENCE:
        return None
    plain = _SPACING.sub(" ", _TEXT.sub(r"\1", text)).strip()
    if not _WORD.search(plain):
        return None
    stated = find_stated_answer(plain, True)
    if stated is not None:
        start, end, cue = stated
        return plain[start:end] if cue is None and start < end else None
    value = find_last_value(plain)
    if value is None or value == (0, len(plain)):
        return None
    if refusing_cue_before(plain, value[0]) or refusing_cue_behind(plain, value[1]):
        return None
    return plain[value[0] : value[1]]
