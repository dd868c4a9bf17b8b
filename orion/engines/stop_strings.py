"""Stop strings: a completion ends before the first of them.

Input: generated token ids and a tokenizer, or a text. Output: whether a stop string is there, and
the text before it. The engines share this, so that a completion ends at the same place whichever
engine it comes from.
"""

from collections.abc import Sequence
from typing import Any

# tokens that are decoded beyond the length of the longest stop string, for tokens without a text of
# their own: parts of a character, special tokens
MARGIN = 8


class StopStrings:
    """The stop strings of a stage, and the tokenizer that decodes its completions."""

    def __init__(self, stop: Sequence[str] | None, tokenizer: Any):
        self.stop = tuple(stop or ())
        self.tokenizer = tokenizer
        # a token has at least one byte
        self.window = MARGIN + max((len(text.encode()) for text in self.stop), default=0)

    def __bool__(self) -> bool:
        return bool(self.stop)

    def is_reached(self, tokens: Sequence[int]) -> bool:
        """Whether the last of these generated tokens completes a stop string."""
        if not self.stop:
            return False
        tail = self.decode(tokens[-self.window :])
        return any(text in tail for text in self.stop)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids, as every engine decodes a completion."""
        text: str = self.tokenizer.decode(
            list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def cut(self, text: str) -> str:
        """The text before the first stop string; all of it where there is none."""
        return cut(text, self.stop)


def cut(text: str, stop: Sequence[str] | None) -> str:
    """The text before the first of the stop strings; all of it where there is none."""
    places = [text.find(each) for each in stop or ()]
    return text[: min((place for place in places if place >= 0), default=len(text))]
