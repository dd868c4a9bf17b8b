"""Decontamination: finding training problems that repeat a benchmark problem."""

from orion.ngrams import word_ngrams

# words; a benchmark problem that is shorter than the n-gram is compared if it has this many
MIN_WORDS = 8


def fold_text(text: str) -> str:
    """A text for the comparison of whole problems.

    Case and white space are folded; all other characters stay.
    """
    return " ".join(text.casefold().split())


def normalise_words(text: str) -> str:
    """A text for the comparison of n-grams: lower case, letters and digits only."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def join_ngrams(text: str, n: int) -> set[str]:
    """All n-grams of a normalised text, each as one text; empty if the text is shorter."""
    return {" ".join(gram) for gram in word_ngrams(text, n)}


class BenchmarkIndex:
    """The benchmark problems that a training problem must not repeat."""

    def __init__(self, problems: dict[str, str], ngram: int | None):
        """``problems``: text → its place in the benchmarks; ``ngram`` None: equal texts only."""
        self.same = {fold_text(text): where for text, where in problems.items()}
        self.grams: dict[str, str] = {}
        for text, where in problems.items():
            words = normalise_words(text)
            size = len(words.split())
            if not ngram or size < min(ngram, MIN_WORDS):
                continue
            # a problem shorter than the n-gram is one n-gram of its own length
            for gram in join_ngrams(words, min(ngram, size)):
                self.grams.setdefault(gram, where)
        self.sizes = sorted({gram.count(" ") + 1 for gram in self.grams})

    def find_overlap(self, text: str) -> str | None:
        """How a problem repeats a benchmark problem, in words; None if it does not."""
        where = self.same.get(fold_text(text))
        if where:
            return f"equal to {where}"
        words = normalise_words(text)
        for size in self.sizes:
            for gram in sorted(join_ngrams(words, size)):
                if gram in self.grams:
                    return f"shares {size} consecutive words with {self.grams[gram]}"
        return None
