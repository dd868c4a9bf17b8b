"""Decontamination: training problems that repeat a benchmark problem."""

from orion.ngrams import word_ngrams

# words: a benchmark problem shorter than the n-gram still counts if it has at least this many
MIN_WORDS = 8


def fold_text(text: str) -> str:
    """A text for the comparison of whole problems: case and white space do not count, every sign does."""
    return " ".join(text.casefold().split())


def normalise_words(text: str) -> str:
    """A text for runs of shared words: lower case, words only."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def joined_ngrams(text: str, n: int) -> set[str]:
    """All runs of n words of a normalised text; none if it is shorter."""
    return {" ".join(gram) for gram in word_ngrams(text, n)}


class BenchmarkIndex:
    """The benchmark problems that a training problem must not repeat."""

    def __init__(self, problems: dict[str, str], ngram: int | None):
        """``problems`` maps a text to where it stands; ``ngram`` None compares whole texts only."""
        self.same = {fold_text(text): where for text, where in problems.items()}
        self.grams: dict[str, str] = {}
        for text, where in problems.items():
            words = normalise_words(text)
            size = len(words.split())
            # a short problem counts as one run, if it is long enough to be no accident
            for gram in (
                joined_ngrams(words, min(ngram, size))
                if ngram and size >= min(ngram, MIN_WORDS)
                else ()
            ):
                self.grams.setdefault(gram, where)
        self.sizes = sorted({gram.count(" ") + 1 for gram in self.grams})

    def find_overlap(self, text: str) -> str | None:
        """How a problem repeats a benchmark, or None."""
        where = self.same.get(fold_text(text))
        if where:
            return f"equal to {where}"
        words = normalise_words(text)
        for size in self.sizes:
            for gram in sorted(joined_ngrams(words, size)):
                if gram in self.grams:
                    return f"shares {size} consecutive words with {self.grams[gram]}"
        return None
