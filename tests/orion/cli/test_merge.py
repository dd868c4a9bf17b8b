"""``orion merge``: the merged checkpoint answers as the base with its adapter does elsewhere."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from orion import tables
from orion.cli.main import main
from orion.models import adapters, checkpoints
from tests.helpers.chat_models import edit_json, save_checkpoint

QUESTIONS = ["Sam has 12 pens.", "1 + 1", "Four birds sit on a wire, and two of them leave."]


@pytest.fixture
def run(tmp_path):
    """What ``train`` leaves with ``merge_adapter: false``: an adapter and its model.json."""
    base = save_checkpoint(tmp_path / "base", intermediate_size=64)
    # the ids that this tokenizer gives its end of a turn and its padding
    edit_json(base / "generation_config.json", eos_token_id=256, pad_token_id=257)
    document = checkpoints.checkpoint_document(base, name="base", dtype="float32")
    settings = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
    torch.manual_seed(1)
    model = get_peft_model(checkpoints.load_model(document, "cpu"), settings)
    (tmp_path / "run").mkdir()
    adapters.save_adapter(model, tmp_path / "run/model")
    kept = adapters.adapter_document(tmp_path / "run/model", document, name="kept")
    tables.write_json(kept.as_json(), tmp_path / "run/model.json", {})
    return tmp_path / "run"


def answer(model, tokenizer):
    """Greedy answers in plain transformers."""
    texts = []
    for question in QUESTIONS:
        turn = [{"role": "user", "content": question}]
        inputs = tokenizer.apply_chat_template(
            turn, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
        with torch.no_grad():
            made = model.generate(**inputs, do_sample=False, max_new_tokens=40)
        texts.append(tokenizer.decode(made[0, inputs["input_ids"].shape[1] :]))
    return texts


def answer_unmerged(base, adapter):
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    return answer(model.eval(), AutoTokenizer.from_pretrained(base))


def answer_merged(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    return answer(model.eval(), AutoTokenizer.from_pretrained(folder))


def test_greedy_answers_are_those_of_the_base_with_its_adapter(run, tmp_path, capsys):
    output = tmp_path / "new/merged"
    main(["merge", str(run / "model"), str(output)])
    assert (
        f"{output}: {run}/model merged into {tmp_path}/base, in float32" in capsys.readouterr().out
    )
    wanted = answer_unmerged(tmp_path / "base", run / "model")
    assert answer_merged(output) == wanted
    plain = answer_merged(tmp_path / "base")
    assert all(one != other for one, other in zip(plain, wanted, strict=True))
    # an ordinary checkpoint, in which nothing of the adapter is left
    merged = checkpoints.checkpoint_document(output, name="merged", dtype="float32")
    of_base = checkpoints.checkpoint_document(tmp_path / "base", name="base", dtype="float32")
    assert merged.parameters == of_base.parameters
    assert merged.chat_template == of_base.chat_template and merged.digest != of_base.digest
    assert not adapters.is_adapter_folder(output) and not list(output.parent.glob(".*"))


def test_a_base_that_has_moved_is_given_and_verified(run, tmp_path, capsys):
    shutil.move(tmp_path / "base", tmp_path / "moved")
    with pytest.raises(SystemExit) as end:
        main(["merge", str(run / "model"), str(tmp_path / "merged")])
    assert end.value.code == 2
    assert "/base is not there; give its folder with --base" in capsys.readouterr().err
    main(["merge", str(run / "model"), str(tmp_path / "merged"), "--base", str(tmp_path / "moved")])
    assert answer_merged(tmp_path / "merged") == answer_unmerged(tmp_path / "moved", run / "model")
    edit_json(tmp_path / "moved/config.json", rms_norm_eps=1e-3)
    with pytest.raises(SystemExit):
        main(["merge", str(run / "model"), str(tmp_path / "2"), "--base", str(tmp_path / "moved")])
    assert "not the file that model.json describes" in capsys.readouterr().err
    assert not (tmp_path / "2").exists()


def test_an_adapter_from_elsewhere_names_its_base(run, tmp_path):
    (run / "model.json").unlink()
    edit_json(run / "model/adapter_config.json", base_model_name_or_path=str(tmp_path / "base"))
    main(["merge", str(run / "model"), str(tmp_path / "merged")])
    assert answer_merged(tmp_path / "merged") == answer_unmerged(tmp_path / "base", run / "model")


def test_the_merged_weights_have_the_dtype_of_the_checkpoint(run, tmp_path):
    document = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps({**document, "dtype": "bfloat16"}))
    main(["merge", str(run / "model"), str(tmp_path / "merged")])
    rounded = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto")
    assert rounded.dtype == torch.bfloat16
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    whole = PeftModel.from_pretrained(whole, run / "model").merge_and_unload()
    for name, value in rounded.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name].bfloat16()), name


def test_what_cannot_be_merged_is_refused(run, tmp_path, capsys):
    (tmp_path / "there").mkdir()
    for words, message in [
        ((run / "model", tmp_path / "there"), "there: exists already; name a new folder"),
        ((tmp_path / "base", tmp_path / "merged"), "base: no adapter in peft's format"),
        ((tmp_path / "nowhere", tmp_path / "merged"), "nowhere: no adapter in peft's format"),
    ]:
        with pytest.raises(SystemExit) as end:
            main(["merge", *map(str, words)])
        assert end.value.code == 2 and message in capsys.readouterr().err
    (run / "model.json").unlink()
    with pytest.raises(SystemExit):
        main(["merge", str(run / "model"), str(tmp_path / "merged")])
    assert "adapter_config.json names none; give the base" in capsys.readouterr().err
    assert not (tmp_path / "merged").exists()
