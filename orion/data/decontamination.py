"""Decontamination: finding training problems that repeat a benchmark problem."""

import re
from collections.abc import Iterator

# words; a benchmark problem that is shorter than the n-gram is compared if it has this many
MIN_WORDS = 8
_NO_WORD = re.compile(r"[\W_]+")


def fold_text(text: str) -> str:
    """A text for the comparison of whole problems.

    Case and white space are folded; all other characters stay.
    """
    return " ".join(text.casefold().split())


def normalise_words(text: str) -> str:
    """A text for the comparison of n-grams: lower case, letters and digits only."""
    return _NO_WORD.sub(" ", text.lower()).strip()


def list_ngrams(words: str, n: int) -> Iterator[tuple[int, str]]:
    """(start, text) of every n-gram of a normalised text, as slices of it."""
    starts = [0, *(match.end() for match in re.finditer(" ", words))]
    for first in range(len(starts) - n + 1):
        end = starts[first + n] - 1 if first + n < len(starts) else len(words)
        yield starts[first], words[starts[first] : end]


class BenchmarkIndex:
    """The benchmark problems that a training problem must not repeat.

    Its size is that of the benchmarks, whatever the number of training problems.
    """

    def __init__(self, problems: dict[str, str], ngram: int | None):
        """``problems``: text → its place in the benchmarks; ``ngram`` None: equal texts only."""
        self.same = {fold_text(text): where for text, where in problems.items()}
        self.grams: dict[str, str] = {}
        for text, where in problems.items():
            words = normalise_words(text)
            size = words.count(" ") + 1 if words else 0
            if not ngram or size < min(ngram, MIN_WORDS):
                continue
            # a problem shorter than the n-gram is one n-gram of its own length
            for _, gram in list_ngrams(words, min(ngram, size)):
                self.grams.setdefault(gram, where)
        self.sizes = sorted({gram.count(" ") + 1 for gram in self.grams})
        self.starts = self._index_starts()

    def _index_starts(self) -> dict[str, list[str]]:
        """The grams by their first words, as many as the shortest has.

        One look at each place of a text then finds the grams of every size that may begin there.
        """
        found: dict[str, list[str]] = {}
        for gram in self.grams:
            _, start = next(list_ngrams(gram, self.sizes[0]))
            found.setdefault(start, []).append(gram)
        return found

    def find_overlap(self, text: str) -> str | None:
        """How a problem repeats a benchmark problem, in words; None if it does not."""
        where = self.same.get(fold_text(text))
        if where:
            return f"equal to {where}"
        if not self.sizes:
            return None
        words = normalise_words(text)
        hits = []
        for place, start in list_ngrams(words, self.sizes[0]):
            for gram in self.starts.get(start, ()):
                end = place + len(gram)
                if words.startswith(gram, place) and words[end : end + 1] in ("", " "):
                    hits.append((gram.count(" ") + 1, gram))
        if not hits:
            return None
        size, gram = min(hits)
        return f"shares {size} consecutive words with {self.grams[gram]}"
