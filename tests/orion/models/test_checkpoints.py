"""Checkpoint folders: their documents, tokenizers and end tokens; errors that name the cure."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from orion.errors import InputError
from orion.models import checkpoints, templates, training_checkpoints
from orion.models.document import ModelDocument, from_json

WORDS = ["<pad>", "<end>", "<user>", "<assistant>", "plus", "is", *"0123456789"]
TEMPLATE = (
    "{%- if messages[0]['role'] == 'system' -%}{{ raise_exception('no system turn') }}{%- endif -%}"
    "{%- for message in messages -%}<user> {{ message['content'] }} {% endfor -%}"
    "{%- if enable_thinking is defined and not enable_thinking -%}quick {% endif -%}"
    "{%- if add_generation_prompt -%}<assistant>{%- endif -%}"
)
CONFIG = {
    "model_type": "qwen2",
    "vocab_size": len(WORDS),
    "max_position_embeddings": 64,
    "hidden_size": 4,
}


@pytest.fixture
def folder(tmp_path):
    """A checkpoint with made-up weights: 16 x 4 and 4 numbers."""
    path = tmp_path / "checkpoint"
    path.mkdir()
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits(individual_digits=True)]
    )
    core.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    tokens = {
        "pad_token": "<pad>",
        "eos_token": "<end>",
        "additional_special_tokens": ["<user>", "<assistant>"],
    }
    PreTrainedTokenizerFast(
        tokenizer_object=core, chat_template=TEMPLATE, **tokens
    ).save_pretrained(path)
    save_file(
        {"embed": np.zeros((16, 4), np.float32), "norm": np.ones(4, np.float32)},
        path / "model.safetensors",
    )
    (path / "config.json").write_text(json.dumps(CONFIG))
    (path / "generation_config.json").write_text('{"eos_token_id": 1}')
    (path / "README.md").write_text("not part of the model")
    return path


def make_document(folder, **changes) -> ModelDocument:
    return checkpoints.checkpoint_document(
        folder, **{"name": "tiny", "dtype": "float32", **changes}
    )


def test_the_document(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    document = make_document(folder)
    assert {
        k: getattr(document, k)
        for k in ("name", "path", "repo", "revision", "context_length", "vocab_size", "parameters")
    } == {
        "name": "tiny",
        "path": "checkpoint",
        "repo": None,
        "revision": None,
        "context_length": 64,
        "vocab_size": 16,
        "parameters": 68,
    }
    assert document.chat_template == TEMPLATE and document.trust_remote_code is False
    assert {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    } <= document.files.keys()
    assert "README.md" not in document.files
    assert from_json(json.loads(json.dumps(document.as_json()))) == document
    hub = make_document(folder, repo="org/name", revision="0" * 40)
    assert (hub.path, hub.repo, hub.digest) == (None, "org/name", document.digest)


def test_the_digest_is_of_the_content_not_the_place(folder, tmp_path):
    digest = make_document(folder).digest
    shutil.copytree(folder, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "README.md").write_text("another text")
    assert make_document(tmp_path / "elsewhere", name="other", context_length=32).digest == digest
    assert make_document(folder, dtype="bfloat16").digest != digest


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "generation_config.json", "tokenizer.json"]
)
def test_the_digest_follows_every_file_that_matters(folder, name):
    digest = make_document(folder).digest
    path = folder / name
    if name == "model.safetensors":
        save_file({"embed": np.ones((16, 4), np.float32), "norm": np.ones(4, np.float32)}, path)
    else:
        path.write_text(path.read_text() + "\n")
    assert make_document(folder).digest != digest


def test_a_chat_template_can_be_supplied(folder, tmp_path):
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(
        InputError, match=r"no chat template.*`chat_template:` key names a jinja file"
    ):
        make_document(folder)
    template = tmp_path / "own.jinja"
    template.write_text("{% for m in messages %}<user> {{ m['content'] }} {% endfor %}<assistant>")
    document = make_document(folder, chat_template_file=template)
    tokenizer = checkpoints.load_tokenizer(document)
    assert (
        templates.render(tokenizer, [{"role": "user", "content": "1 plus 2"}])
        == "<user> 1 plus 2 <assistant>"
    )
    with pytest.raises(InputError, match=r"absent\.jinja: No such file"):
        make_document(folder, chat_template_file=tmp_path / "absent.jinja")
    template.write_text("{% for m in messages %}")
    with pytest.raises(InputError, match="chat template"):
        make_document(folder, chat_template_file=template)


def test_the_tokenizer_is_the_one_of_the_folder(folder):
    # for the model type qwen2, AutoTokenizer builds a byte-level tokenizer of its own
    tokenizer = checkpoints.load_tokenizer(make_document(folder))
    ids = tokenizer("12 plus 3 is", add_special_tokens=False)["input_ids"]
    assert [WORDS[i] for i in ids] == ["1", "2", "plus", "3", "is"]
    assert tokenizer.decode(ids) == "1 2 plus 3 is"
    assert tokenizer.padding_side == "left"


def test_render(folder):
    tokenizer = checkpoints.load_tokenizer(make_document(folder))
    user = [{"role": "user", "content": "1"}]
    assert templates.render(tokenizer, user) == "<user> 1 <assistant>"
    assert templates.render(tokenizer, user, enable_thinking=False) == "<user> 1 quick <assistant>"
    assert templates.render(tokenizer, user, add_generation_prompt=False) == "<user> 1 "
    with pytest.raises(
        InputError, match="refuses messages of the roles system, user: no system turn"
    ):
        templates.render(tokenizer, [{"role": "system", "content": "x"}, *user])


def remove_tokenizer(folder):
    (folder / "tokenizer.json").unlink()


def only_pickle(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def half_download(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def missing_shard(folder):
    index = {
        "weight_map": {"embed": "model.safetensors", "norm": "model-00002-of-00002.safetensors"}
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def write_config(**changes):
    def change(folder):
        text = json.dumps({k: v for k, v in {**CONFIG, **changes}.items() if v is not None})
        (folder / "config.json").write_text(text)

    return change


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "no such folder"),
        (lambda folder: (folder / "config.json").unlink(), r"no config\.json"),
        (
            lambda folder: (folder / "config.json").write_text("{"),
            r"config\.json: not readable as JSON",
        ),
        (lambda folder: (folder / "model.safetensors").unlink(), r"no weights \(\*.safetensors\)"),
        (only_pickle, r"only as pickle \(pytorch_model.bin\).*convert them to safetensors"),
        (half_download, "not readable as safetensors.*repeat the download"),
        (
            missing_shard,
            "1 weight files are missing .model-00002-of-00002.safetensors.*finish the download",
        ),
        (remove_tokenizer, "no tokenizer.*copy the base model's tokenizer"),
        (
            write_config(max_position_embeddings=None),
            "no max_position_embeddings; set the model's `context_length:`",
        ),
        (write_config(vocab_size=10), "the tokenizer has 16 entries, the model 10"),
    ],
    ids=[
        "gone",
        "no config",
        "bad config",
        "no weights",
        "pickle",
        "torn",
        "shard",
        "tokenizer",
        "context",
        "vocabulary",
    ],
)
def test_what_cannot_be_used_is_refused_with_a_cure(folder, spoil, message):
    spoil(folder)
    with pytest.raises(InputError, match=message):
        make_document(folder)


def test_a_context_longer_than_the_models_is_refused(folder):
    assert make_document(folder, context_length=64).context_length == 64
    with pytest.raises(InputError, match="context_length: 65 is more than the 64 tokens"):
        make_document(folder, context_length=65)


def write_shards(folder):
    """The weights in two shards with their index, instead of one file."""
    (folder / "model.safetensors").unlink()
    names = {
        "embed": "model-00001-of-00002.safetensors",
        "norm": "model-00002-of-00002.safetensors",
    }
    save_file({"embed": np.zeros((16, 4), np.float32)}, folder / names["embed"])
    save_file({"norm": np.ones(4, np.float32)}, folder / names["norm"])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


@pytest.mark.parametrize("write", [lambda folder: None, write_shards], ids=["whole", "shards"])
def test_weights_that_lie_there_twice_are_counted_once(folder, write):
    write(folder)
    assert make_document(folder).parameters == 68
    again = {"embed": np.zeros((16, 4), np.float32), "norm": np.ones(4, np.float32)}
    save_file(again, folder / "consolidated.safetensors")
    save_file({"lora": np.ones(3, np.float32)}, folder / "adapter_model.safetensors")
    assert make_document(folder).parameters == 68


def test_weights_that_transformers_does_not_read_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "consolidated.00.safetensors")
    with pytest.raises(
        InputError,
        match=r"only in Mistral's own format \(consolidated\.00\.safetensors\).*download model\.",
    ):
        make_document(folder)


def test_a_damaged_index_is_named(folder):
    write_shards(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": ')
    with pytest.raises(
        InputError, match=r"index\.json: no readable index .*download the file again"
    ):
        make_document(folder)


@pytest.mark.parametrize(
    ("content", "packages"),
    [
        # the field `pieces` of a SentencePiece model with one piece
        (b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02", "sentencepiece protobuf"),
        (b"IQ== 0\nIg== 1\n", "tiktoken"),
    ],
    ids=["sentencepiece", "tiktoken"],
)
def test_a_vocabulary_that_needs_a_package_names_it(folder, monkeypatch, content, packages):
    # as where none of them is installed
    monkeypatch.setattr(checkpoints, "_is_installed", lambda module: False)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(content)
    with pytest.raises(
        InputError,
        match=rf"tokenizer\.model only, and reading it takes `pip install {packages}`.*or put the "
        r"tokenizer\.json of the same model beside it",
    ):
        make_document(folder)


def test_a_package_is_installed_or_not():
    assert checkpoints._is_installed("jinja2") and checkpoints._is_installed("xml.dom")
    assert not checkpoints._is_installed("absent") and not checkpoints._is_installed("absent.part")


def test_a_path_is_a_folder_or_refused(folder):
    assert checkpoints.find_folder(str(folder)) == folder
    with pytest.raises(InputError, match="no such folder; `path:`"):
        checkpoints.find_folder(str(folder / "absent"))


def test_a_hub_snapshot_is_found_without_a_network(folder, tmp_path, monkeypatch):
    import huggingface_hub.constants as constants

    revision = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "hub" / "models--org--name" / "snapshots" / revision
    shutil.copytree(folder, snapshot)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert checkpoints.find_folder(repo="org/name", revision=revision) == snapshot
    with pytest.raises(
        InputError,
        match=r"org/other@0123456789.*not in the local cache and the hub cannot be reached",
    ):
        checkpoints.find_folder(repo="org/other", revision=revision)


@pytest.mark.parametrize(
    ("generation", "config", "ids"),
    [
        ('{"eos_token_id": [1, 0]}', 5, {0, 1}),
        ("{}", [4, 5], {1, 4, 5}),
        (None, 4, {1, 4}),
        (None, None, {1}),
    ],
    ids=["list", "config's", "no generation config", "tokenizer's"],
)
def test_end_tokens(folder, generation, config, ids):
    (folder / "generation_config.json").unlink()
    if generation is not None:
        (folder / "generation_config.json").write_text(generation)
    write_config(eos_token_id=config)(folder)
    document = make_document(folder)
    assert checkpoints.eos_ids(document, checkpoints.load_tokenizer(document)) == ids


def test_a_checkpoint_without_an_end_token_is_refused(folder):
    (folder / "generation_config.json").unlink()
    document = make_document(folder)
    tokenizer = checkpoints.load_tokenizer(document)
    tokenizer.eos_token = None
    with pytest.raises(InputError, match="names no end token"):
        checkpoints.eos_ids(document, tokenizer)


def test_a_date_of_the_template_is_part_of_its_prompts_only(folder, tmp_path):
    (folder / "chat_template.jinja").unlink()
    template = tmp_path / "dated.jinja"
    template.write_text("{{ strftime_now('%d') }} " + TEMPLATE, encoding="utf-8")
    with pytest.raises(InputError, match="set the model's `prompt_date:`"):
        make_document(folder, chat_template_file=template)
    old, new = (
        make_document(folder, chat_template_file=template, prompt_date=date)
        for date in ("2025-01-03", "2025-01-04")
    )
    assert old.digest == new.digest and old.prompt_date == "2025-01-03"
    user = [{"role": "user", "content": "1"}]
    prompts = [templates.render(checkpoints.load_tokenizer(d), user) for d in (old, new)]
    assert prompts == ["03<user> 1 <assistant>", "04<user> 1 <assistant>"]


def test_a_template_without_a_date_keeps_none(folder):
    assert make_document(folder, prompt_date="2025-01-03") == make_document(folder)


def test_a_trained_checkpoint_keeps_the_date_of_its_base(folder, tmp_path):
    (folder / "chat_template.jinja").unlink()
    template = tmp_path / "dated.jinja"
    template.write_text("{{ strftime_now('%d') }} " + TEMPLATE, encoding="utf-8")
    base = make_document(folder, chat_template_file=template, prompt_date="2025-01-03")
    (folder / "chat_template.jinja").write_text(base.chat_template, encoding="utf-8")
    trained = training_checkpoints.trained_document(folder, "trained", base, adapter=False)
    assert trained.prompt_date == "2025-01-03"
