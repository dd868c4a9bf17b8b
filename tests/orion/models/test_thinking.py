"""Thinking and answer taken apart."""

import pytest

from orion.models.thinking import (
    BrokenThinkingError,
    OtherChannelsError,
    Words,
    split_words,
)

THINKS, CHANNELS, PLAIN = "... </think> ...", "<|channel|>analysis<|message|>", "{{ content }}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (" A\n", Words("A")),
        ("<think>T</think>A", Words("A", "T", "<think>", "</think>")),
        ("\n<think>\nT\n\n</think>\n\nA ", Words("A", "T", "<think>\n", "\n\n</think>\n\n")),
        ("T\n</think>A", Words("A", "T", "", "\n</think>")),
        ("<think>\n\n</think>\n\nA", Words("A")),
        ("</think>A", Words("A")),
        ("<think>T</think>A</think>B", Words("A</think>B", "T", "<think>", "</think>")),
        ("<think>T</think>", Words("", "T", "<think>", "</think>")),
        ("<think>th</think>A", Words("A", "th", "<think>", "</think>")),
    ],
)
def test_blocks_of_thinking(text, words):
    assert split_words(text, THINKS) == words
    assert split_words(text, PLAIN) == Words(text.strip())


@pytest.mark.parametrize("text", ["<think>T", "W <think>T</think>A", "<think>a<think>b</think>A"])
def test_broken_thinking_is_not_guessed_at(text):
    with pytest.raises(BrokenThinkingError):
        split_words(text, THINKS)


@pytest.mark.parametrize(
    "text",
    [
        "<|channel|>analysis<|message|>T<|end|><|start|>assistant<|channel|>final<|message|>A<|return|>",
        "analysisTassistantfinalA",
        "<think>T</think>A",
    ],
)
def test_channels_with_and_without_their_tokens(text):
    words = split_words(text, CHANNELS)
    assert (words.thinking, words.answer) == ("T", "A")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<|channel|>final<|message|>a<|return|>", "a"),
        ("finalThe answer is 5", "The answer is 5"),
        ("final\\boxed{5}", "\\boxed{5}"),
        ("final answer: 5", "final answer: 5"),
        ("finally, 5", "finally, 5"),
        ("analysis of the problem: 5", "analysis of the problem: 5"),
    ],
)
def test_the_final_channel_alone(text, answer):
    assert split_words(text, CHANNELS) == Words(answer)


HARMONY = "<|channel|>analysis<|message|>T<|end|><|start|>assistant<|channel|>final<|message|>A"


def test_channels_are_taken_apart_for_templates_of_another_family():
    assert split_words(HARMONY, THINKS) == Words("A", "T", "<think>\n", "\n</think>\n\n")
    only = "<|channel|>final<|message|>A<|return|>"
    assert split_words(only, THINKS) == split_words(only, PLAIN) == Words("A")
    with pytest.raises(OtherChannelsError):
        split_words(HARMONY, PLAIN)
    # without control tokens it is a text like any other
    assert split_words("analysis T assistantfinalA", THINKS) == Words("analysis T assistantfinalA")


@pytest.mark.parametrize("template", [THINKS, CHANNELS, PLAIN])
def test_an_analysis_without_a_final_channel_is_broken(template):
    with pytest.raises(BrokenThinkingError):
        split_words('<|channel|>analysis<|message|>So \\boxed{6}. The instructions: "', template)
