"""The marker of a reflection: where the refined chain begins.

Input: a prompt set's marker and a response. Output: the text before and behind the last marker. A
marker that is a heading, such as ``### Refined solution``, is a rule: models write it in another
case, at another level, in bold, or with a colon. Any other marker is found as it is written.
"""

import re
from functools import lru_cache

# every piece is bounded, since responses are hostile
_GAP = r"[ \t]{0,4}"
_EMPHASIS = r"(?:\*{1,3}|_{1,3})"
# before the words: indentation, a quotation, a code mark, hashes, bold, a number
_BEFORE = rf"[ \t>]{{0,8}}`{{0,3}}(?:#{{1,6}})?{_GAP}(?P<bold>{_EMPHASIS})?{_GAP}"
_NUMBER = rf"(?:\d{{1,2}}[.)]{_GAP})?"
# behind them: a colon and the end of bold in any order, hashes, a code mark
_COLON = "[:\uff1a]"
_BEHIND = (
    rf"{_GAP}(?P<colon>{_COLON})?{_GAP}(?P<closed>{_EMPHASIS})?{_GAP}(?P<late>{_COLON})?"
    rf"{_GAP}#{{0,6}}`{{0,3}}"
)


def split_response(marker: str, response: str) -> tuple[str, str] | None:
    """The text before and behind the last marker; None if there is none.

    Without a line that is the marker by the rule, its exact words at the end of a line count too. A
    response that quotes the instruction has them in quotation marks or within a sentence.
    """
    pattern = heading_pattern(marker)
    if pattern is None:
        before, exact, behind = response.rpartition(marker)
        return (before, behind) if exact else None
    found = None
    for match in pattern.finditer(response):
        if _is_marker(match, response):
            found = match
    if found is None:
        for match in _ending_pattern(marker).finditer(response):
            found = match
    return None if found is None else (response[: found.start()], response[found.end() :])


@lru_cache(maxsize=16)
def heading_pattern(marker: str) -> re.Pattern[str] | None:
    """Matches lines that begin with a heading's words; None for a marker that is no heading."""
    words = marker.lstrip("#").strip().strip("*_").rstrip(":").split()
    if not marker.startswith("#") or not words or "\n" in marker:
        return None
    text = r"[ \t]{1,4}".join(map(re.escape, words))
    return re.compile(
        rf"^{_BEFORE}{_NUMBER}{text}(?![^\W_]){_BEHIND}", re.MULTILINE | re.IGNORECASE
    )


@lru_cache(maxsize=16)
def _ending_pattern(marker: str) -> re.Pattern[str]:
    """Matches the exact words where they end a line or a colon follows, not behind a quotation."""
    return re.compile(rf"(?<![`\"'“‘(]){re.escape(marker)}{_GAP}(?::|$)", re.MULTILINE)


def _is_marker(match: re.Match[str], response: str) -> bool:
    """Whether the line is a marker: nothing follows the words, or a colon or bold ends them."""
    if match["colon"] or match["late"] or (match["bold"] and match["closed"]):
        return True
    end = response.find("\n", match.end())
    return not response[match.end() : len(response) if end < 0 else end].strip()
