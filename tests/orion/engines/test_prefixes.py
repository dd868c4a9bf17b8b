"""Shared beginnings: the tree of texts, their order, and what the engine reads of them."""

import random
import weakref
from dataclasses import replace

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from orion.engines import Request, RuntimeOptions, Sampling, open_engine, prefill, prefixes
from orion.engines.prefixes import MIN_SHARED, Node, build_tree, family_order, shared_beginning
from orion.models import checkpoints
from tests.helpers.tiny_models import save

GREEDY = Sampling(temperature=0.0, top_p=1.0, max_tokens=8, repetition_penalty=1.0)


def text_of(node: Node) -> list[int]:
    before = text_of(node.parent) if node.parent is not None else []
    return before + node.ids


def random_texts(rng: random.Random) -> list[list[int]]:
    """Distinct texts, many of which begin alike or begin another."""
    texts: set[tuple[int, ...]] = set()
    stems = [[rng.randrange(3) for _ in range(rng.randint(0, 60))] for _ in range(3)]
    for _ in range(rng.randint(1, 30)):
        stem = rng.choice(stems)
        text = stem[: rng.randint(0, len(stem))] * rng.randint(1, 2)
        texts.add((*text, *(rng.randrange(300) for _ in range(rng.randint(0, 4)))))
    return [list(text) for text in texts]


@pytest.mark.parametrize("limits", [(1, 0), (3, 4), (16, 64)], ids=str)
def test_every_text_is_read_whole_at_one_node(monkeypatch, limits):
    monkeypatch.setattr(prefixes, "MIN_SHARED", limits[0])
    monkeypatch.setattr(prefixes, "MIN_SAVED", limits[1])
    rng = random.Random(limits[0])
    for _ in range(200):
        texts = random_texts(rng)
        nodes = build_tree(texts)
        found = {i: text_of(node) for node in nodes for i in node.texts}
        assert found == dict(enumerate(texts))
        assert sum(len(node.texts) for node in nodes) == len(texts)
        for place, node in enumerate(nodes):
            before = len(text_of(node.parent)) if node.parent else 0
            assert node.start == before and node.end == before + len(node.ids)
            assert node.parent is None or node.parent in nodes[:place]
        assert sum(len(node.ids) for node in nodes) <= sum(map(len, texts))


def test_the_tree_shares_what_is_worth_it():
    system, problem = list(range(100)), list(range(200, 240))
    texts = [system + problem + [7, i] for i in range(4)] + [[*system, 9, 9], [*system, 8]]
    nodes = build_tree(texts)
    shared = {tuple(node.ids): node.members for node in nodes if node.members > 1}
    assert shared == {tuple(system): 6, (*problem, 7): 4}
    assert sum(len(node.ids) for node in nodes) == 100 + 41 + 4 * 1 + 2 + 1
    # what is short, or shared by too few, is read again
    assert all(
        node.members == 1 for node in build_tree([[1] * (MIN_SHARED - 1) + [i] for i in range(99)])
    )
    assert all(node.members == 1 for node in build_tree([[1] * 60 + [i] for i in (1, 2)]))


def test_what_is_common_is_not_read_again():
    common = list(range(70))
    texts = [common, [*common, 1], [*common, 2, 3]]
    assert shared_beginning(texts) == common
    nodes = build_tree(texts, start=70)
    assert sorted(node.ids for node in nodes) == [[], [1], [2, 3]]
    assert {node.start for node in nodes} == {70}
    assert shared_beginning(texts[:1]) == []
    assert shared_beginning([[1, 2], [1, 3]]) == []


def test_families_are_neighbours_and_the_longest_come_first():
    stems = {n: [n] * (100 + n) for n in range(5)}
    texts = [stems[n] + [50 + i] * (3 * i) for i in range(1, 4) for n in range(5)]
    order = family_order(texts, largest=8)
    assert [texts[i][0] for i in order] == [n for n in (4, 3, 2, 1, 0) for _ in range(3)]
    assert [len(texts[i]) for i in order[:3]] == [113, 110, 107]
    # a family that no batch holds does not hold back longer texts of others
    lengths = [len(texts[i]) for i in family_order(texts, largest=2)]
    assert lengths == sorted(lengths, reverse=True)


def window_model(tmp_path):
    torch.manual_seed(1)
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    size = {"vocab_size": 110, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
    config = MistralConfig(
        **heads, **size, sliding_window=6, max_position_embeddings=200, initializer_range=0.3
    )
    save(tmp_path, MistralForCausalLM(config))
    return checkpoints.checkpoint_document(tmp_path, name="window", dtype="float32")


def shared_prompts() -> list[str]:
    """One beginning for all, one for each problem, and ends of their own."""
    rng = random.Random(2)

    def words(n: int) -> str:
        return " ".join(f"w{rng.randrange(100)}" for _ in range(n))

    system = words(20)
    problems = [f"{system} {words(rng.randint(22, 40))}" for _ in range(3)]
    prompts = [f"{problem} {words(rng.randint(1, 9))}" for problem in problems for _ in range(4)]
    return [*prompts, problems[0], f"{system} w3", system]


@pytest.mark.parametrize("window", [False, True], ids=["full", "sliding"])
@pytest.mark.parametrize(
    "options",
    [{}, {"batch_size": 5}, {"prefill_tokens": 7}, {"batch_size": 3, "prefill_tokens": 50}],
    ids=str,
)
def test_shared_beginnings_change_no_answer(request, tmp_path, window, options):
    document = window_model(tmp_path) if window else request.getfixturevalue("document")
    assert document.context_length >= 80
    model, tokenizer = (
        checkpoints.load_model(document, "cpu"),
        checkpoints.load_tokenizer(document),
    )
    engine = open_engine("transformers", document, GREEDY, RuntimeOptions(device="cpu", **options))
    prompts = shared_prompts()
    answers = list(engine.generate([Request(str(i), text, i) for i, text in enumerate(prompts)]))
    assert len(answers) == len(prompts)
    for answer in answers:
        ids = tokenizer(prompts[int(answer.key)], add_special_tokens=False, return_tensors="pt")[
            "input_ids"
        ]
        assert answer.prompt_tokens == ids.shape[1]
        out = model.generate(ids, do_sample=False, max_new_tokens=GREEDY.max_tokens)
        expected = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
        assert answer.response == expected


def count_reads(document, prompts: list[str], **options) -> tuple[int, int]:
    """(prompt tokens that the model reads, padding included; the most in one forward)."""
    sampling = replace(GREEDY, max_tokens=1)
    engine = open_engine(
        "transformers", document, sampling, RuntimeOptions(device="cpu", **options)
    )
    sizes, forward = [], engine.model.forward

    def counting(*args, **kwargs):
        if "attention_mask" not in kwargs or kwargs["input_ids"].shape[1] > 1:
            sizes.append(kwargs["input_ids"].numel())
        return forward(*args, **kwargs)

    engine.model.forward = counting
    assert len(list(engine.generate([Request(str(i), p, i) for i, p in enumerate(prompts)]))) > 0
    return sum(sizes), max(sizes)


def test_shared_beginnings_are_read_once(document):
    rng = random.Random(3)
    system = " ".join(f"w{rng.randrange(100)}" for _ in range(40))
    prompts = [f"{system} w{i} w{i} w1" for i in range(30)]
    total, _ = count_reads(document, prompts)
    assert total == 40 + 30 * 2  # the last token of a prompt is read by the first step
    # also where the rows are read in many turns
    total, _ = count_reads(document, prompts, batch_size=6)
    assert total == 40 + 30 * 2


def test_no_forward_reads_more_than_the_limit(document):
    rng = random.Random(4)
    prompts = [" ".join(f"w{rng.randrange(100)}" for _ in range(n)) for n in (70, 41, 5, 3)]
    total, most = count_reads(document, prompts, prefill_tokens=16)
    assert most == 16
    assert 69 + 40 + 4 + 2 <= total <= 69 + 40 + 4 + 2 + 16


def test_what_was_read_gives_up_its_memory(document, monkeypatch):
    model = checkpoints.load_model(document, "cpu")
    read, kept, most = prefill._read, [], []

    def counting(*args):
        places = read(*args)
        kept.append(weakref.ref(places[0].block))
        most.append(sum(block() is not None for block in kept))
        return places

    monkeypatch.setattr(prefill, "_read", counting)
    # ten pieces, each with the keys and values of all before it
    found = prefill.read_texts(model, [list(range(4, 74))], 7)
    assert len(kept) == 10 and max(most) == 2
    assert [block.layers[0][0].shape[2] for block, _ in found] == [70]


def test_two_uses_of_one_engine_do_not_mix(document):
    # each has a beginning of its own
    first = [Request(f"a{i}", "w5 w6 " * 15 + f"w{i}", i) for i in range(12)]
    second = [Request(f"b{i}", "w7 w8 w9 " * 10 + f"w{i} w1", i) for i in range(12)]
    options = RuntimeOptions(device="cpu", batch_size=2)
    engine = open_engine("transformers", document, GREEDY, options)
    alone = [list(engine.generate(wanted)) for wanted in (first, second)]
    together = list(zip(engine.generate(first), engine.generate(second), strict=True))
    assert [list(answers) for answers in zip(*together, strict=True)] == alone


def test_a_beginning_without_room_is_read_with_each_row(document, monkeypatch):
    wanted = [Request(f"{i}", "w5 w6 " * 15 + f"w{i}", i) for i in range(6)]
    options = RuntimeOptions(device="cpu", batch_size=4)
    engine = open_engine("transformers", document, GREEDY, options)
    expected = {answer.key: answer for answer in engine.generate(wanted)}
    prefill_rows = engine._prefill

    def prefill_without_trunk(rows, trunk):
        if trunk.ids:
            raise torch.OutOfMemoryError("pretended")
        return prefill_rows(rows, trunk)

    monkeypatch.setattr(engine, "_prefill", prefill_without_trunk)
    assert {answer.key: answer for answer in engine.generate(wanted)} == expected
    assert engine.batch_size == 1
