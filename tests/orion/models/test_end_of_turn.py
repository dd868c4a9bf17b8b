"""A chat template's end of turn ends answers, also where no file of the checkpoint names it."""

import json

import pytest
from transformers import AutoModelForCausalLM

from orion.models import checkpoints, templates, training_checkpoints
from orion.models.training_documents import DocumentEncoder
from tests.helpers.chat_models import build_tokenizer, edit_json, save_checkpoint

END_OF_TEXT, END_OF_TURN = build_tokenizer().convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"])


@pytest.fixture
def base(tmp_path):
    """As base models are published: a chat template, and the end of text as the only end token."""
    folder = save_checkpoint(tmp_path / "base")
    edit_json(folder / "tokenizer_config.json", eos_token="<|endoftext|>")
    for name in ("config.json", "generation_config.json"):
        edit_json(folder / name, eos_token_id=END_OF_TEXT)
    return checkpoints.checkpoint_document(folder, name="base", dtype="float32")


def test_the_end_of_a_turn_ends_a_completion_and_a_training_document(base):
    tokenizer = checkpoints.load_tokenizer(base)
    assert tokenizer.eos_token_id == END_OF_TEXT
    eos = checkpoints.eos_ids(base, tokenizer)
    assert eos == {END_OF_TEXT, END_OF_TURN}
    ids, _ = DocumentEncoder(tokenizer, eos=eos, enable_thinking=None).encode("1 + 1", "2")
    assert [token for token in ids if token in eos][-1] == ids[-1] == END_OF_TURN


def test_a_trained_checkpoint_names_it(base, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(base.path)
    tokenizer = checkpoints.load_tokenizer(base)
    training_checkpoints.publish(model, tokenizer, base, tmp_path / "trained", adapter=False)
    saved = json.loads((tmp_path / "trained" / "generation_config.json").read_text())
    assert saved["eos_token_id"] == sorted([END_OF_TEXT, END_OF_TURN])


def test_answers_that_end_elsewhere_have_another_digest(base, monkeypatch):
    monkeypatch.setattr(checkpoints, "end_of_turn", lambda _: set())
    same_files = checkpoints.checkpoint_document(base.path, name="base", dtype="float32")
    assert same_files.files == base.files
    assert same_files.digest != base.digest


@pytest.mark.parametrize(
    ("ending", "ids"),
    [("", set()), ("\n", set()), ("<|im_end|>\n<|im_start|>", {END_OF_TURN})],
)
def test_it_is_the_first_control_token_behind_the_words(ending, ids):
    tokenizer = build_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}" + ending
    assert templates.end_of_turn(tokenizer) == ids


def test_a_template_that_refuses_the_turns_has_none():
    tokenizer = build_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('no') }}"
    assert templates.end_of_turn(tokenizer) == set()
