"""The pre-training examples, and a pre-training of a few steps."""

import random
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from orion.demo.curriculum import (
    Recipe,
    column_example,
    corrupt_chain,
    make_curriculum,
    plain_example,
    reflection_example,
    unseen_chain,
)
from orion.demo.error_coverage import detailed_steps, parse_steps
from orion.demo.problems import Level, Step, level_chain, random_chain
from orion.demo.skills import SKILLS, needing_steps
from orion.demo.student import DEFAULTS, encode_examples, learning_rate, make_batches, pretrain
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
RECIPE = Recipe(seed=1, plain=100, reflections=100, drills=100, plain_first=0.5, teacher_weight=0.3)


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
    # loaded beside a config.json, the tokenizer must be this one and not the architecture's
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
    for option in ({"precision": "half"}, {"starved": "spelling"}, {"foreign_attempts": 2}):
        with pytest.raises(ValueError, match=next(iter(option))):
            pretrain(tmp_path / "new", **option)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_shards_share_out_the_same_examples():
    recipe = replace(RECIPE, plain=30, reflections=10, drills=20)
    whole = [make_curriculum(recipe, shard, 2) for shard in (0, 1)]
    rows = [str(example) for first, second in whole for example in first + second]
    assert len(rows) == 60
    assert not any("Question" in str(e) and "Refine" in str(e) for first, _ in whole for e in first)
    alone = make_curriculum(recipe, 0, 1)
    assert sorted(rows) == sorted(str(example) for phase in alone for example in phase)


def test_reflections_write_out_one_step_with_and_without_an_attempt():
    shown = set()
    for i in range(300):
        text = " ".join(piece.text for piece in reflection_example(random.Random(i), RECIPE))
        user, target = text.split("<|assistant|>")
        shown.add(("Teacher:" in user, "Attempt:" in user))
        assert len(detailed_steps(target.replace("<|end|>", ""))) == 1
        assert ("wrong" in target) == ("Attempt:" in user)
    assert shown == {(True, True), (True, False), (False, True)}


def test_corrupted_attempts_go_wrong_at_the_given_step():
    for i in range(2000):
        rng = random.Random(i)
        _, steps = random_chain(rng, 3, 199)
        at = rng.randrange(3)
        wrong = corrupt_chain(rng, steps, at)
        assert wrong[:at] == steps[:at]
        assert wrong[at].result != steps[at].result
        assert all(0 < step.result < 1000 for step in wrong)


def test_pretraining_never_sees_a_chain_of_a_level():
    trained = set()
    for i in range(3000):
        trained.add(tuple(unseen_chain(random.Random(i), 2, 30)[1]))
    # in a range this small, chains would meet by chance
    for split in ("train", "benchmark"):
        held = {tuple(level_chain(random.Random(i), Level(2, 30, 0, split))[1]) for i in range(500)}
        assert not trained & held


def test_only_weighted_tokens_are_targets():
    tokenizer = build_tokenizer()
    recipe = replace(RECIPE, teacher_weight=0.0)
    rows = encode_examples(
        tokenizer, [reflection_example(random.Random(i), recipe) for i in range(8)], 3.0
    )
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


def test_starved_student_sees_the_skill_by_columns_or_beside_a_trace_only():
    seen = {"plain": 0, "reflection": 0}
    for skill in SKILLS:
        recipe = replace(RECIPE, starved=skill)
        for i in range(400):
            for kind, example in (
                ("plain", plain_example(random.Random(i), skill)),
                ("reflection", reflection_example(random.Random(i), recipe)),
            ):
                text = " ".join(piece.text for piece in example)
                user, target = text.split("<|assistant|>")
                needing = needing_steps(skill, read_steps(target))
                if kind == "plain" or "Teacher:" not in user:
                    assert not needing
                seen[kind] += bool(needing)
    assert seen["plain"] == 0
    assert seen["reflection"] > 300


def test_columns_are_the_cure_of_a_starved_student():
    for skill in (None, *SKILLS):
        needing = others = 0
        for i in range(200):
            user, target = column_example(random.Random(i), skill)
            assert "Teacher:" not in user.text and "Attempt:" not in user.text
            chain = target.text.replace("<|end|>", "").removeprefix("New: ")
            [detailed] = detailed_steps(chain)
            needs = needing_steps(skill, read_steps(chain))
            # never in short form, also beside a step that is written out
            assert needs <= {detailed}
            needing += bool(needs)
            others += not needs
        assert (needing == 0) if skill is None else (60 < needing < 140)
        assert others > 60
    without = make_curriculum(replace(RECIPE, starved="borrow"), 0, 2)
    with_columns = make_curriculum(replace(RECIPE, starved="borrow", columns=50), 0, 2)
    assert len(with_columns[1]) == len(without[1]) + 25 and with_columns[0] == without[0]


def read_steps(text):
    """The steps of a refined chain or a solution, wherever they stand in the text."""
    return [
        Step(step.left, step.op, step.operand, step.result)
        for step in parse_steps(text.replace("<|end|>", ""))
        if step is not None
    ]


def test_without_starving_the_skills_are_there():
    seen = dict.fromkeys(SKILLS, 0)
    for i in range(400):
        target = plain_example(random.Random(i))[-1].text
        for skill in SKILLS:
            seen[skill] += bool(needing_steps(skill, read_steps(target)))
    assert min(seen.values()) > 40


def test_foreign_attempts_are_diagnosed_at_their_first_difference():
    foreign = 0
    for i in range(400):
        recipe = replace(RECIPE, foreign_attempts=0.5)
        text = " ".join(piece.text for piece in reflection_example(random.Random(i), recipe))
        user, target = text.split("<|assistant|>")
        if "Attempt:" not in user:
            continue
        attempt = parse_steps(user.split("Attempt:")[1].split("Refine:")[0].split("\\boxed")[0])
        right = parse_steps(target.replace("<|end|>", ""))
        # an attempt at this very problem has its operations
        foreign += [s.op for s in attempt] != [s.op for s in right]
        first = next(
            i for i, (a, b) in enumerate(zip(attempt, right, strict=True)) if a.result != b.result
        )
        assert detailed_steps(target.replace("<|end|>", "")) == {first}
    assert 60 < foreign < 200
