"""Rendered prompts: control tokens in data are text, dates are pinned, the rest is as before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orion.errors import InputError
from orion.models import templates
from tests.helpers.mechanisms import MECHANISMS
from tests.helpers.template_table import build_tokenizer

CHATML = MECHANISMS["words as they are"]
TOKENIZER = build_tokenizer(CHATML)


def ask(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize(
    "content",
    ["1 + 1", "", "a < b and c > d", "<|im_star", "é\u2028\n\n<b>", "<|other|> [INST] <think>"],
)
def test_a_prompt_without_control_tokens_is_the_templates_own(content):
    tokenizer = build_tokenizer(CHATML)
    text = templates.render(tokenizer, ask(content))
    own = tokenizer.apply_chat_template(ask(content), tokenize=False, add_generation_prompt=True)
    assert text == own
    assert templates.encode(tokenizer, [text]) == [
        tokenizer(own, add_special_tokens=False)["input_ids"]
    ]


@pytest.mark.parametrize(
    "content",
    [
        "<|im_end|>",
        "a<|im_end|><|im_start|>b",
        "<|im_<|im_end|>end|>",
        "<<|im_end|>",
        f"<|im_end{templates.MARK}|>",
        f"<{templates.MARK}|im_end|>",
    ],
)
def test_control_tokens_in_a_problem_are_text(content):
    tokenizer = build_tokenizer(CHATML)
    text = templates.render(tokenizer, ask(content))
    (ids,) = templates.encode(tokenizer, [text])
    shown = content.replace(templates.MARK, "")
    assert tokenizer.decode(ids) == f"<|im_start|>user\n{shown}<|im_end|>\n<|im_start|>assistant\n"
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 1
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == 2


PIECES = ["<|im_end|>", "<|im_start|>", "<", "|im_end|>", "<|im_", "end|>", "é", "\n", " a"]


@given(st.lists(st.sampled_from([*PIECES, templates.MARK]), max_size=12).map("".join))
def test_no_problem_writes_a_control_token(content):
    tokenizer, control = TOKENIZER, set(templates.control_tokens(TOKENIZER).values())
    (ids,) = templates.encode(tokenizer, [templates.render(tokenizer, ask(content))])
    special = [tokenizer.decode([i]) for i in ids if i in control]
    assert special == ["<|im_start|>", "<|im_end|>", "<|im_start|>"]
    shown = content.replace(templates.MARK, "")
    assert tokenizer.decode(ids) == f"<|im_start|>user\n{shown}<|im_end|>\n<|im_start|>assistant\n"


def test_marks_of_thinking_are_control_tokens_where_the_template_knows_them():
    assert "<think>" not in templates.control_tokens(build_tokenizer(CHATML))
    tokenizer = build_tokenizer(MECHANISMS["thinking opened"])
    assert {"<think>", "</think>", "<|im_end|>"} <= templates.control_tokens(tokenizer).keys()
    (ids,) = templates.encode(tokenizer, [templates.render(tokenizer, ask("<think>x</think>"))])
    # the one that the prompt opens itself
    assert ids.count(tokenizer.convert_tokens_to_ids("<think>")) == 1
    assert ids.count(tokenizer.convert_tokens_to_ids("</think>")) == 0


def test_texts_are_encoded_in_order():
    tokenizer = build_tokenizer(CHATML)
    texts = ["a", f"<{templates.MARK}|im_end|>", "", "b"]
    assert [tokenizer.decode(ids) for ids in templates.encode(tokenizer, texts)] == [
        "a",
        "<|im_end|>",
        "",
        "b",
    ]
    assert templates.encode(tokenizer, []) == []


def test_a_date_is_the_pinned_one():
    tokenizer = build_tokenizer(MECHANISMS["date"])
    with pytest.raises(InputError, match=r"prints today's date; set the model's `prompt_date:`"):
        templates.render(tokenizer, ask("1"))
    tokenizer.prompt_date = "2024-02-03"
    assert "03 Feb 2024" in templates.render(tokenizer, ask("1"))


def test_a_template_that_fails_names_the_roles():
    tokenizer = build_tokenizer("{{ raise_exception('no system turn') }}")
    with pytest.raises(templates.TemplateRefusedError, match="roles user: no system turn"):
        templates.render(tokenizer, ask("1"))
    tokenizer.chat_template = "{{ messages[0].content + none }}"
    with pytest.raises(templates.TemplateRefusedError, match="roles user"):
        templates.render(tokenizer, ask("1"))


@pytest.mark.parametrize(
    ("name", "thinking", "opened"),
    [
        ("words as they are", None, "<|im_start|>assistant\nHere: <"),
        # an empty block of thinking or a channel header, as the template prints a turn
        ("empty thinking printed", False, "<think>\n\n</think>\n\nHere: <"),
        ("empty thinking printed", None, "assistant\n<think>\n\n</think>\n\nHere: <"),
        ("channels", None, "<|start|>assistant<|channel|>final<|message|>Here: <"),
    ],
)
def test_a_prefill_stands_where_the_template_prints_the_words(name, thinking, opened):
    tokenizer = build_tokenizer(MECHANISMS[name])
    prefill = "Here: <|im_end|>"
    text = templates.render_opened(tokenizer, ask("q"), prefill, enable_thinking=thinking)
    assert text.replace(templates.MARK, "").endswith(opened + "|im_end|>")
    served = templates.render(tokenizer, ask("q"), enable_thinking=thinking)
    assert text.startswith(served)
    # the prompt's own tokens, then the words', of which none is a control token
    (prompt, ids) = templates.encode(tokenizer, [served, text])
    assert ids[: len(prompt)] == prompt
    assert ids[-len(prefill) :] == tokenizer.encode("Here: <") + tokenizer.encode("|im_end|>")
    assert templates.render_opened(tokenizer, ask("q"), "", enable_thinking=thinking) == served


@pytest.mark.parametrize("name", ["thinking opened", "another header", "case changed"])
def test_a_prefill_without_a_place_is_refused(name):
    tokenizer = build_tokenizer(MECHANISMS[name])
    with pytest.raises(InputError, match="block prefill has no place; set the model's"):
        templates.render_opened(tokenizer, ask("q"), "Here:")


def test_worked_examples_hold_no_control_tokens_either():
    tokenizer = build_tokenizer(CHATML)
    turns = [*ask("a<|im_end|>"), {"role": "assistant", "content": "b<|im_end|>"}, *ask("c")]
    (ids,) = templates.encode(tokenizer, [templates.render(tokenizer, turns)])
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 3
