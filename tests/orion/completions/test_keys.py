"""Keys of completions: what they depend on, and that no stored key ever changes."""

import hashlib
from dataclasses import replace

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orion import completions, engines
from orion.completions.parts import KEY
from orion.errors import InputError
from orion.models.document import ModelDocument
from tests.helpers.fake_engine import GENERATION, FakeEngine, make_requests


def test_a_key_is_what_decides_a_completion_and_nothing_else():
    base = {
        "model_digest": "m",
        "prompt": "p",
        "sampling": {"seed": 0, "top_p": 1.0},
        "engine": "e",
        "sample_index": 0,
    }
    changes = {
        "model_digest": "n",
        "prompt": "q",
        "sampling": {"seed": 1, "top_p": 1.0},
        "engine": "f",
        "sample_index": 1,
    }
    keys = {
        completions.completion_key(**base),
        *(completions.completion_key(**{**base, name: value}) for name, value in changes.items()),
    }
    assert len(keys) == 6 and all(len(key) == 64 for key in keys)
    assert completions.completion_key(**base) == completions.completion_key(
        **{**base, "sampling": {"top_p": 1.0, "seed": 0}}
    )
    seeds = {completions.completion_seed(key) for key in keys}
    assert len(seeds) == 6 and all(0 <= seed < 2**63 for seed in seeds)
    assert completions.completion_seed("f" * 64) == 2**63 - 1


AWKWARD = ["", 'a"b\\\n\té\u2028😀', "\x00\x1f\x7f", "</s>{}[]:,", "ü" * 3000, '\\"', "a"]


def test_keys_of_a_table_are_those_of_single_completions():
    rows = [(f"p{i}", j, "solve", prompt) for i, prompt in enumerate(AWKWARD) for j in range(3)]
    # the last problem asks the first one's prompt again
    rows += [("z", 0, "solve", AWKWARD[0])]
    table = pl.DataFrame(rows, schema=make_requests(1, 1).schema, orient="row")
    sampling = {
        "temperature": 0.8,
        "top_p": 1.0,
        "max_tokens": 64,
        "repetition_penalty": 1.0,
        "seed": 0,
        "new": None,
    }
    found = completions.add_keys(
        table.sample(fraction=1, shuffle=True, seed=1),
        model_digest="m",
        sampling=sampling,
        engine="e",
    )
    expected = [
        completions.completion_key("m", prompt, sampling, "e", 3 if name == "z" else sample)
        for name, sample, _, prompt in rows
    ]
    assert found[KEY].to_list() == expected and len(set(expected)) == len(expected)


def test_keys_are_what_they_were():
    # changed keys would mean that everything ever generated is generated again
    table = pl.DataFrame(
        [("p", i, "solve", AWKWARD[1]) for i in (0, 1)],
        schema=make_requests(1, 1).schema,
        orient="row",
    )
    sampling = {
        "temperature": 0.8,
        "top_p": 1.0,
        "max_tokens": 64,
        "repetition_penalty": 1.0,
        "seed": 0,
    }
    found = completions.add_keys(
        table, model_digest="ab" * 32, sampling=sampling, engine="transformers-1"
    )[KEY]
    assert found.to_list() == [
        "cf3bf926077a9975167bf90486e29ea6174ccd3535f68c6b2fc0efdd7200cdf2",
        "6459b3fc22063e9c4a1dec82efc294b16a894a5c3f4b963646314e63247b3d4e",
    ]


def test_shards_are_written_as_i_of_n():
    assert completions.parse_shard("0/1") == (0, 1) and completions.parse_shard(" 3/12 ") == (3, 12)
    for text in ("4/4", "0/0", "1", "a/b", "-1/4", "1/4/2", "", "1.0/4"):
        with pytest.raises(InputError, match="give i/n with 0 <= i < n"):
            completions.parse_shard(text)


# a model, requests and their keys, which were computed at commit 0b56c6a with these revisions
OLD_REVISIONS = {"transformers": 1, "vllm": 1, "openai": 1}
OLD_DOCUMENT = ModelDocument(name="old", digest="0123456789abcdef" * 4, context_length=4096)
OLD_CHAT = '{"messages":[{"content":"é \\"x\\"\\n","role":"user"}]}'
OLD_KEYS = {
    replace(
        GENERATION, engine="transformers", num_samples=4, temperature=1, max_tokens=512, seed=7
    ): [
        "c77dbcb83446b8da2789179b19be447aba8c6e07ee436180524932a523c77e3e",
        "c1ea7a2b5666f72e040043a70a0984d1ef1028b5d4cca123d2aa8486cd752d16",
        "b7c5bea12d5507aed7b4eeee806319e47aaa87265ae750a5a95ad2aacce25eea",
        "bc11c71026aa4e40312b379c12893ddd17f282304d7bfe8dc0669517b2f7dada",
    ],
    replace(
        GENERATION,
        engine="vllm",
        num_samples=4,
        temperature=0.7,
        top_p=0.95,
        repetition_penalty=1.05,
        max_tokens=512,
    ): [
        "0d9d7976a2ae4836f02709227cd15f668c7b0955b60fe8a766149de195657f78",
        "9a72e2b09a23368987ae6ee016a77c918895585c48e2d91dd831d16d65a22c92",
        "d29c91ff4bd163b99b20fd4c05e872a4a90576a4e9642c4d16c5fb7b8db7bf06",
        "c6218878d928be7787f01be3a0eb52ab30dcf16d2b918429a31ef1d40a3ccf0b",
    ],
    replace(
        GENERATION, engine="openai", num_samples=4, temperature=0.0, max_tokens=64, seed=2**40
    ): [
        "f0295a8c7e8b81ee3eaabd55c149525bb04d612f89585d2bc67d01fdad7f0155",
        "cb9c361c67cd153834b89c19095e2a1f10d4797ad6b1c9f7b6a9f71d378eab99",
        "fd4db12194d57a2200226720e966e92962a107f64521e5815206837bc3d7761a",
        "36c7cd9c1ca831651c420e7a5ad5c5bb4c79b340b964d488164ca1cbc2bdf649",
    ],
}


@pytest.fixture
def old_revisions(monkeypatch):
    for engine, revision in OLD_REVISIONS.items():
        monkeypatch.setitem(engines.REVISIONS, engine, revision)


def make_old_requests() -> pl.DataFrame:
    rows = [
        ("a", 0, "solve", "1 + 1 = ?"),
        ("a", 1, "solve", "1 + 1 = ?"),
        ("b", 0, "solve", OLD_CHAT),
        ("c", 0, "solve", "1 + 1 = ?"),
    ]
    return pl.DataFrame(rows, schema=make_requests(1, 1).schema, orient="row")


@pytest.mark.parametrize("generation", OLD_KEYS, ids=lambda generation: generation.engine)
def test_a_completed_table_has_the_keys_it_had(tmp_path, generation, old_revisions):
    table = completions.complete(
        make_old_requests(),
        document=OLD_DOCUMENT,
        generation=generation,
        root=tmp_path,
        open_engine=FakeEngine().open,
    )
    # at temperature 0 the three rows of one prompt share the first one's completion
    wanted = [
        OLD_KEYS[generation][i] for i in ((0, 0, 2, 0) if generation.temperature == 0 else range(4))
    ]
    assert table["completion"].to_list() == wanted


@pytest.mark.parametrize("generation", OLD_KEYS, ids=lambda generation: generation.engine)
def test_a_store_of_before_is_read_and_nothing_generated(tmp_path, generation, old_revisions):
    """A part file as earlier versions wrote it, built without this version's code."""
    rows = {
        "cell": OLD_KEYS[generation],
        "response": ["two", "2", "é", "three"],
        "finish_reason": ["stop", "length", "stop", "stop"],
        "prompt_tokens": [5, 5, 9, 5],
        "completion_tokens": [1, 64, 2, 3],
    }
    kinds = [pa.large_string()] * 3 + [pa.int64()] * 2
    schema = pa.schema(list(zip(rows, kinds, strict=True)))
    folder = tmp_path / OLD_DOCUMENT.digest[:16]
    folder.mkdir()
    pq.write_table(
        pa.table(rows, schema=schema),
        folder / "new",
        compression="zstd",
        use_dictionary=["finish_reason"],
        write_statistics=False,
        write_page_checksum=True,
    )
    digest = hashlib.sha256((folder / "new").read_bytes()).hexdigest()
    (folder / "new").rename(folder / f"part-{digest[:32]}.parquet")
    engine = FakeEngine()
    table = completions.complete(
        make_old_requests(),
        document=OLD_DOCUMENT,
        generation=generation,
        root=tmp_path,
        open_engine=engine.open,
    )
    assert engine.times_opened == 0 and not engine.asked
    assert table.columns == ["problem_id", "sample_id", "template", *list(rows)[1:], "completion"]
    assert table["completion"].to_list() == rows["cell"]
    assert all(table[name].to_list() == rows[name] for name in list(rows)[1:])


def test_a_new_revision_of_an_engine_asks_again(tmp_path, monkeypatch):
    found = []
    for revision in (1, 2):
        monkeypatch.setitem(engines.REVISIONS, GENERATION.engine, revision)
        engine = FakeEngine()
        table = completions.complete(
            make_requests(3, 2),
            document=OLD_DOCUMENT,
            generation=GENERATION,
            root=tmp_path,
            open_engine=engine.open,
        )
        assert len(engine.asked) == 6
        found.append(set(table["completion"]))
    assert not found[0] & found[1]
