"""Word n-grams of a text, for the loop and copy filters and for decontamination."""


def word_ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    """All n-grams of whitespace-separated words, in order; empty if the text is shorter."""
    words = text.split()
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
