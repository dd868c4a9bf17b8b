"""Runs of words in a text: the unit of the loop and copy filters and of decontamination."""


def word_ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    """All runs of n whitespace-separated words, in order; none if the text is shorter."""
    words = text.split()
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
