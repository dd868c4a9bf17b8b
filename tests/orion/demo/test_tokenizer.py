"""The tokenizer: round trip, no unknown words, a prompt that is a prefix of the conversation."""

import random
from dataclasses import replace

import pytest
from transformers import AutoTokenizer

from orion.demo.curriculum import drill_example, plain_example, reflection_example
from orion.demo.problems import LEVELS, generate
from orion.demo.tokenizer import build_tokenizer
from tests.orion.demo.test_student import RECIPE

WITH_FOREIGN = replace(RECIPE, foreign_attempts=0.5)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer().save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("level", LEVELS)
def test_generated_texts_survive_the_round_trip(tokenizer, level):
    for p in generate(level, 60, seed=2):
        attempt = f"Question: {p.problem} Teacher: {p.teacher_trace} Attempt: {p.solution} Refine:"
        for text in (p.problem, p.solution, p.teacher_trace, attempt):
            ids = tokenizer(text)["input_ids"]
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids) == text


@pytest.mark.parametrize(
    "make", [plain_example, drill_example, lambda rng: reflection_example(rng, WITH_FOREIGN)]
)
def test_curriculum_has_no_unknown_words(tokenizer, make):
    for i in range(100):
        text = " ".join(piece.text for piece in make(random.Random(i)))
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text


def test_special_tokens(tokenizer):
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id) == (0, 1, None)
    assert tokenizer("unheard-of")["input_ids"] == [tokenizer.unk_token_id]
    assert 90 <= len(tokenizer) <= 120


def test_chat_template(tokenizer):
    user = {"role": "user", "content": "Question: 2 + 2"}
    turn = {"role": "assistant", "content": "2 + 2 = 4 ; \\boxed{ 4 }"}
    prompt = tokenizer.apply_chat_template([user], add_generation_prompt=True)["input_ids"]
    whole = tokenizer.apply_chat_template([user, turn])["input_ids"]
    assert whole[: len(prompt)] == prompt
    assert whole[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(whole[len(prompt) :], skip_special_tokens=True) == turn["content"]
    assert tokenizer.decode(prompt) == "<|user|> Question: 2 + 2 <|assistant|>"
    with pytest.raises(Exception, match="user and assistant only"):
        tokenizer.apply_chat_template([{"role": "system", "content": "2"}])


def test_template_writes_what_the_student_is_pretrained_on(tokenizer):
    for i in range(20):
        pieces = reflection_example(random.Random(i), WITH_FOREIGN)
        text = " ".join(piece.text for piece in pieces)
        user, assistant = (
            text.removeprefix("<|user|> ").removesuffix(" <|end|>").split(" <|assistant|> ")
        )
        messages = [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
        assert tokenizer.apply_chat_template(messages)["input_ids"] == tokenizer(text)["input_ids"]
