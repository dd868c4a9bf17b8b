"""The stage reflect: prompts whose assistant's turn is opened, and the responses as they count."""

import polars as pl

from orion import prompts
from orion.models import templates
from orion.stages import reflect
from tests.helpers.mechanisms import MECHANISMS
from tests.helpers.template_table import build_tokenizer

PREFILLED = prompts.resolve("chat").keep("reflect", "marker") | {"prefill": "### Refined solution"}


def make(prompt_set):
    planned = [
        reflect.ReflectionPrompt("p1", reflect.REFLECT, [0], "T", ["E"]),
        reflect.ReflectionPrompt("p1", reflect.REWRITE, [], "T", []),
    ]
    problems = pl.DataFrame({"problem_id": ["p1"], "problem": ["P"], "teacher_trace": ["T"]})
    tokenizer = build_tokenizer(MECHANISMS["words as they are"])
    return reflect.make_requests(
        planned, problems, tokenizer, prompt_set=prompt_set, num_samples=2, enable_thinking=None
    )


def test_every_reflection_prompt_ends_with_the_prefill():
    plain, opened = make("chat")["prompt"], make(prompts.PromptSet(**PREFILLED))["prompt"]
    ending = f"{templates.MARK}### Refined solution"
    assert opened.to_list() == [text + ending for text in plain] and len(plain) == 4
    assert plain.str.ends_with("<|im_start|>assistant\n").all()


def test_the_prefill_is_part_of_the_response_and_a_failed_request_has_none():
    frame = pl.DataFrame({"response": ["\n2 + 2 = 4", ""], "completion_tokens": [5, 0]})
    found = reflect.add_prefill(frame, "### Refined solution")
    assert found["response"].to_list() == ["### Refined solution\n2 + 2 = 4", ""]
    assert prompts.extract_refined("chat", found["response"][0]) == "2 + 2 = 4"
    assert reflect.add_prefill(frame, "").equals(frame)
