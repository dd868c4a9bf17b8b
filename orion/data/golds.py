"""Gold answers that are none, and what a gold that cannot be parsed may need in the mapping."""

import re

# gold answers that say that there is none; compared without case, dots and outer brackets
PLACEHOLDERS = frozenset(
    {
        *("nan", "none", "null", "nil", "n/a", "na", "undefined", "unknown", "unsolved"),
        *("proof", "see proof", "notfound", "not found", "no answer", "not available", "tbd"),
        *("answer", "error", "?", "??", "...", "-", "--", "_"),
    }
)


def shorten(text: str, width: int = 100) -> str:
    """A text for a message: its beginning and its end."""
    if len(text) <= width:
        return text
    return f"{text[: width - 30]} ... {text[-20:]}"


def find_placeholder(answer: str) -> str | None:
    """Why a gold answer is none, in words: it is a word such as nan, None or proof."""
    word = answer.strip().strip("\"'()[]{}<>").strip().rstrip(".").casefold()
    if word in PLACEHOLDERS or answer.strip() in PLACEHOLDERS:
        return f"the gold answer {answer.strip()[:40]!r} says that there is none"
    return None


def suggest_rule(answer: str) -> str:
    """The rule of the field mapping that a gold answer asks for, in words, or nothing."""
    if "####" in answer:
        return "; the answer is behind ####: map it with `extract: hashes`"
    if re.search(r"\\(boxed|fbox)\s*\{", answer) and len(answer) > 60:
        return "; the answer is in a box of a longer text: map it with `extract: boxed`"
    if len(answer) > 300:
        return "; this is a whole text: is it the solution, and the answer in another column?"
    return ""
