"""The index of the benchmarks finds what a plain search finds."""

import random

import pytest

from orion.data.decontamination import MIN_WORDS, BenchmarkIndex, normalise_words


def plain_search(benchmark, text, ngram):
    """The size of the shortest shared run of words, by looking at all of them."""
    words = normalise_words(text).split()
    found = []
    for held_out in benchmark:
        held = normalise_words(held_out).split()
        if len(held) < min(ngram, MIN_WORDS):
            continue
        n = min(ngram, len(held))
        grams = {tuple(held[i : i + n]) for i in range(len(held) - n + 1)}
        found += [n for i in range(len(words) - n + 1) if tuple(words[i : i + n]) in grams]
    return min(found, default=None)


@pytest.mark.parametrize("ngram", [1, 3, 8, 9, 13])
def test_the_index_finds_what_a_plain_search_finds(ngram):
    rng = random.Random(ngram)
    # few words, so that runs are shared by chance
    words = ["two", "six", "Ann's", "x_1"] if ngram > 3 else [f"w{i}" for i in range(60)]
    hits = 0
    for _ in range(300):
        benchmark = [" ".join(rng.choices(words, k=rng.randrange(1, 22))) for _ in range(3)]
        text = ", ".join(rng.choices(words, k=rng.randrange(0, 30)))
        if rng.random() < 0.4:
            held = rng.choice(benchmark).split()
            text += " " + " ".join(held[rng.randrange(len(held)) :])
        index = BenchmarkIndex({b: f"b/{n}" for n, b in enumerate(benchmark)}, ngram)
        found = index.find_overlap(f"start {text} end")
        wanted = plain_search(benchmark, f"start {text} end", ngram)
        size = int(found.split()[1]) if found else None
        assert size == wanted, (benchmark, text)
        hits += wanted is not None
    assert 30 < hits < 300


def test_an_equal_text_is_found_without_an_ngram():
    index = BenchmarkIndex({"One two?": "b/0"}, None)
    assert index.find_overlap("one  TWO?") == "equal to b/0"
    assert index.find_overlap("one two three") is None
    assert BenchmarkIndex({}, 13).find_overlap("anything at all") is None
