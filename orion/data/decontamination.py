"""Decontamination: finding training problems that repeat a benchmark problem."""

import re

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


class BenchmarkIndex:
    """The benchmark problems that a training problem must not repeat.

    Its size is that of the benchmarks, whatever the number of training problems.
    """

    def __init__(self, problems: dict[str, str], ngram: int | None):
        """``problems``: text → its place in the benchmarks; ``ngram`` None: equal texts only."""
        self.same = {fold_text(text): where for text, where in problems.items()}
        self.grams: dict[str, str] = {}
        for text, where in problems.items():
            words = normalise_words(text).split(" ")
            if not ngram or len(words) < min(ngram, MIN_WORDS) or words == [""]:
                continue
            # a problem shorter than the n-gram is one n-gram of its own length
            for gram in _join_ngrams(words, min(ngram, len(words))):
                self.grams.setdefault(gram, where)
        self.shortest = min((gram.count(" ") + 1 for gram in self.grams), default=0)
        # the grams by their first words, as many as the shortest has
        self._starts: dict[str, list[tuple[int, str]]] = {}
        for gram in self.grams:
            words = gram.split(" ")
            start = " ".join(words[: self.shortest])
            self._starts.setdefault(start, []).append((len(words), gram))
        # A text that has the words of a start also has a piece of it at one of its places that are
        # a multiple of the stride, so that few places need a look
        self._piece = max(1, self.shortest // 2)
        self._stride = self.shortest - self._piece + 1
        self._pieces = {
            piece for start in self._starts for piece in _join_ngrams(start.split(" "), self._piece)
        }

    def find_overlap(self, text: str) -> str | None:
        """How a problem repeats a benchmark problem, in words; None if it does not."""
        where = self.same.get(fold_text(text))
        if where:
            return f"equal to {where}"
        if not self.grams:
            return None
        words = normalise_words(text).split(" ")
        hits = []
        for place in range(0, len(words) - self._piece + 1, self._stride):
            if " ".join(words[place : place + self._piece]) in self._pieces:
                hits += self._find_grams(words, place)
        if not hits:
            return None
        size, gram = min(hits)
        return f"shares {size} consecutive words with {self.grams[gram]}"

    def _find_grams(self, words: list[str], place: int) -> list[tuple[int, str]]:
        """The grams of the benchmarks that begin at a place or less than a stride before it."""
        found = []
        for first in range(max(0, place - self._stride + 1), place + 1):
            start = " ".join(words[first : first + self.shortest])
            for size, gram in self._starts.get(start, ()):
                if " ".join(words[first : first + size]) == gram:
                    found.append((size, gram))
        return found


def _join_ngrams(words: list[str], n: int) -> list[str]:
    """All n-grams of a list of words, each as one text; empty if there are fewer."""
    return [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]
