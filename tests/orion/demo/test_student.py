"""The curriculum's promises, and a pre-training of a few steps that leaves a complete checkpoint."""

import random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from orion.demo.curriculum import Counts, corrupt, curriculum, reflection_example, unseen_chain
from orion.demo.error_coverage import detailed_steps
from orion.demo.problems import Level, level_chain, random_chain
from orion.demo.student import DEFAULTS, encode, learning_rate, make_batches, pretrain
from orion.demo.tokenizer import build_tokenizer

TINY = {
    "plain": 40,
    "reflections": 20,
    "drills": 20,
    "hidden": 32,
    "layers": 1,
    "heads": 2,
    "kv_heads": 1,
    "feedforward": 64,
    "batch_tokens": 1024,
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student") / "checkpoint"
    pretrain(folder, **TINY)
    return folder


def test_checkpoint_is_complete_and_generates(checkpoint):
    assert {"config.json", "model.safetensors", "generation_config.json", "tokenizer.json"} <= {
        path.name for path in checkpoint.iterdir()
    }
    assert [path.name for path in checkpoint.parent.iterdir()] == ["checkpoint"]
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    # loaded beside a config.json, the tokenizer must still be this one and not the architecture's usual one.
    text = "Question: Sam has 47 pens"
    assert tokenizer(text)["input_ids"] == build_tokenizer()(text)["input_ids"]
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Question: Sam has 2 pens"}],
        add_generation_prompt=True,
        return_tensors="pt",
    )
    out = model.generate(**prompt, max_new_tokens=3, do_sample=False)
    assert out.shape[1] > prompt["input_ids"].shape[1]
    ends = model.generation_config
    assert (ends.pad_token_id, ends.eos_token_id, ends.bos_token_id) == (0, 1, None)
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in model.parameters())


@pytest.mark.slow
def test_pretraining_is_deterministic(checkpoint, tmp_path):
    pretrain(tmp_path / "again", **TINY)
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        checkpoint / "model.safetensors"
    ).read_bytes()


def test_bad_calls_leave_the_output_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError):
        pretrain(tmp_path, **TINY)
    with pytest.raises(TypeError, match="stepz"):
        pretrain(tmp_path / "new", stepz=3)
    with pytest.raises(ValueError, match="precision"):
        pretrain(tmp_path / "new", precision="half")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_shards_share_out_the_same_examples():
    counts = Counts(plain=30, reflections=10, drills=20)
    whole = [
        curriculum(1, shard, 2, counts, plain_first=0.5, teacher_weight=0.3) for shard in (0, 1)
    ]
    rows = [str(example) for first, second in whole for example in first + second]
    assert len(rows) == 60
    assert not any("Question" in str(e) and "Refine" in str(e) for first, _ in whole for e in first)
    alone = curriculum(1, 0, 1, counts, plain_first=0.5, teacher_weight=0.3)
    assert sorted(rows) == sorted(str(example) for phase in alone for example in phase)


def test_reflections_write_out_one_step_with_and_without_an_attempt():
    shown = set()
    for i in range(300):
        text = " ".join(piece.text for piece in reflection_example(random.Random(i), 0.3))
        user, target = text.split("<|assistant|>")
        shown.add(("Teacher:" in user, "Attempt:" in user))
        assert len(detailed_steps(target.replace("<|end|>", ""))) == 1
        assert ("wrong" in target) == ("Attempt:" in user)
    assert shown == {(True, True), (True, False), (False, True)}


def test_corrupted_attempts_go_wrong_where_told():
    for i in range(2000):
        rng = random.Random(i)
        _, steps = random_chain(rng, 3, 199)
        at = rng.randrange(3)
        wrong = corrupt(rng, steps, at)
        assert wrong[:at] == steps[:at]
        assert wrong[at].result != steps[at].result
        assert all(0 < step.result < 1000 for step in wrong)


def test_pretraining_never_sees_a_chain_of_a_level():
    trained = set()
    for i in range(3000):
        trained.add(tuple(unseen_chain(random.Random(i), 2, 30)[1]))
    # so small a range that chance alone would make chains meet.
    for split in ("train", "benchmark"):
        held = {tuple(level_chain(random.Random(i), Level(2, 30, 0, split))[1]) for i in range(500)}
        assert not trained & held


def test_only_weighted_tokens_are_targets():
    tokenizer = build_tokenizer()
    rows = encode(tokenizer, [reflection_example(random.Random(i), 0.0) for i in range(8)], 3.0)
    batches = make_batches(rows, 600, tokenizer.pad_token_id)
    assert sum(len(ids) for ids, _ in batches) == 8
    for ids, weights in batches:
        assert ids.shape == weights.shape
        assert ids.numel() <= 600
        assert ids.shape[1] % 8 == 0
        assert weights[ids == tokenizer.pad_token_id].sum() == 0
        for row, weight in zip(ids.tolist(), weights.tolist(), strict=True):
            turn = row.index(tokenizer.convert_tokens_to_ids("<|assistant|>"))
            assert not any(weight[: turn + 1])
            assert weight[row.index(tokenizer.eos_token_id)] == 1.0


def test_learning_rate_rises_stays_and_falls():
    rates = [learning_rate(step, 1000, DEFAULTS) for step in range(1000)]
    assert rates[0] < rates[30] < rates[59] == rates[60] == rates[400] == DEFAULTS["lr"]
    assert rates[-1] == pytest.approx(DEFAULTS["lr"] * DEFAULTS["final_lr"], rel=0.1)
