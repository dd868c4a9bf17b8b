"""The block ``server`` of a model: what of it reaches a stage, and what is refused."""

import copy

import pytest
import yaml

from orion import config
from orion.engines import RequestMapping, Sampling, openai_protocol
from orion.engines.protocol import Request
from orion.errors import InputError
from orion.report import lineage
from tests.helpers.configurations import read_one_student

URL = "http://127.0.0.1:8000/v1"
REASONING = {
    "rename": {"max_tokens": "max_completion_tokens"},
    "drop": ["temperature", "top_p"],
    "add": {"reasoning_effort": "low"},
}


@pytest.fixture
def raw(root):
    """The embedded default with a served model alone in its grid."""
    found = read_one_student(root)
    found["runs"].update(models=["asked"], arms=["base"])
    found["comparisons"] = []
    found["models"]["asked"] = {
        "source": {"kind": "server", "model": "o", "revision": "1"},
        "context_length": 65536,
        "server": {"base_url": URL},
    }
    for stage in ("sample", "evaluate"):
        found[stage].update(engine="openai", temperature=1.0)
    return found


def with_server(raw, **keys):
    changed = copy.deepcopy(raw)
    changed["models"]["asked"]["server"].update(keys)
    return changed


def sample_keys(raw):
    return config.stage_config(config.validate(raw), "sample", dataset="chains", model="asked")


def test_the_reports_configuration_is_the_one_it_was_made_from(root, raw):
    """What the report gets as text must be valid: its own defaults were refused once."""
    files = [{}, yaml.safe_load((root / "config/own.yaml").read_text())]
    files.append(yaml.safe_load((root / "config/paper.yaml").read_text()))
    default = read_one_student(root)
    whole = [config.models.merge(default, file) for file in files]
    teacher = copy.deepcopy(default)
    teacher["models"]["asked"] = with_server(raw, request=REASONING)["models"]["asked"]
    teacher["datasets"]["chains"]["fields"]["teacher_trace"] = None
    teacher["datasets"]["chains"]["teacher"] = "asked"
    teacher["teacher"] = {"num_samples": 1, "temperature": 1.0, "max_tokens": 9, "engine": "openai"}
    headers = {"api-key": "$AZURE_KEY", "X-Title": "orion"}
    for each in (*whole, raw, with_server(raw, request=REASONING, headers=headers), teacher):
        validated = config.validate(each)
        restored = lineage.restore_config(config.stage_config(validated, "report"))
        assert config.stage_config(restored, "report") == config.stage_config(validated, "report")
        for name in ("asked",) if "asked" in each["models"] else ():
            assert restored.models[name] == validated.models[name]


def test_a_mapping_reaches_the_stages_that_ask_the_server_and_no_others(raw):
    before = config.validate(raw)
    after = config.validate(with_server(raw, request=REASONING))
    wanted = {**REASONING, "rename": {"max_tokens": "max_completion_tokens"}}
    assert sample_keys(with_server(raw, request=REASONING))["generation"]["request"] == wanted
    assert "request" not in sample_keys(raw)["generation"]
    for stage, names in (("model", {"model": "asked"}), ("dataset", {"dataset": "chains"})):
        assert config.params(before, stage, **names) == config.params(after, stage, **names)
    # where and who: not tracked
    moved = with_server(raw, headers={"X-Title": "orion"}, query={"api-version": "1"})
    assert sample_keys(moved) == sample_keys(raw)
    # another engine of the same checkpoint never sees it
    beside = copy.deepcopy(raw)
    beside["models"]["asked"] = {
        "source": {"kind": "path", "path": "nowhere"},
        "server": {"base_url": URL, "request": REASONING},
    }
    for stage in ("sample", "evaluate"):
        beside[stage]["engine"] = "vllm"
    assert "request" not in sample_keys(beside)["generation"]


@pytest.mark.parametrize(
    ("request_keys", "message"),
    [
        ({"drop": ["temprature"]}, "no request has temprature; one of chat_template_kwargs, freq"),
        ({"rename": {"model": "name"}}, "no request has model"),
        ({"drop": ["max_tokens"]}, "max_tokens cannot be dropped.*rename it, such as"),
        ({"rename": {"seed": "x"}, "drop": ["seed"]}, "seed is both renamed and dropped"),
        ({"add": {"temperature": 0.5}}, "temperature would be in the request twice; sampling par"),
        ({"rename": {"top_p": "seed"}}, "seed would be in the request twice"),
        ({"rename": {"top_p": "x"}, "add": {"x": 1}}, "x would be in the request twice"),
        ({"add": {"messages": []}}, "messages: is not for a mapping to set"),
        ({"rename": {"top_p": ""}}, "an empty name: is not for a mapping to set"),
        ({"add": {"thinking": {"budget": None}}}, "a null is never sent"),
        ({"remove": ["seed"]}, "remove: unknown key"),
    ],
)
def test_a_mapping_that_cannot_apply_is_refused(raw, request_keys, message):
    with pytest.raises(InputError, match=rf"models\.asked.*server.request.*{message}"):
        config.validate(with_server(raw, request=request_keys))


@pytest.mark.parametrize(
    ("stage", "key", "value", "set_to"),
    [
        ("sample", "temperature", 0.0, "1.0"),
        ("evaluate", "temperature", 0.6, "1.0"),
        ("sample", "top_p", 0.9, "1.0"),
    ],
)
def test_a_sampling_key_that_cannot_reach_the_server_is_refused(raw, stage, key, value, set_to):
    raw[stage][key] = value
    with pytest.raises(
        InputError,
        match=rf"{stage}\.{key}: {value} would not reach models\.asked, since its "
        rf"server\.request\.drop has {key}; set {set_to}, the server's own",
    ):
        config.validate(with_server(raw, request=REASONING))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"headers": {"api-key": "sk-123"}}, "api-key: a secret is not written into a config"),
        ({"query": {"key": "AIza"}}, "key: a secret is not written into a configuration; export"),
        ({"headers": {"X-Title": "5 $"}}, r"X-Title: a \$ that begins no name; write \$\$"),
    ],
)
def test_secrets_are_named_and_not_written(raw, keys, message):
    with pytest.raises(InputError, match=message):
        config.validate(with_server(raw, **keys))


def test_every_parameter_that_is_sent_can_be_mapped():
    sampling = Sampling(0.8, 0.9, 24, 1.1)
    file = {"top_k": 20, "min_p": 0.1, "repetition_penalty": 1.2}
    request = Request("a", '{"messages": [], "chat_template_kwargs": {}}', 1)
    chat = openai_protocol.chat_body("m", request, sampling)
    completion = openai_protocol.completion_body("m", [1], request, sampling, file)
    sent = {*chat, *completion} - {"model", "messages", "prompt"}
    assert sent <= set(config.servers.PARAMETERS)
    mapping = RequestMapping(rename={"seed": "random_seed"}, drop=["top_p"], add={"x": [1]})
    mapped = openai_protocol.apply_mapping(chat, mapping)
    assert mapped == {
        **{key: value for key, value in chat.items() if key not in ("seed", "top_p")},
        "random_seed": 1,
        "x": [1],
    }
