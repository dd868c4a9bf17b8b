"""Models that are only served: their documents, their prompts, and a whole stage that samples one."""

import json

import polars as pl
import pytest

from orion import tables
from orion.errors import InputError
from orion.models import checkpoints, served, templates
from orion.stages import model, sample
from tests.helpers.openai_server import ScriptedServer, answer

SOURCE = {"kind": "server", "model": "org/teacher", "revision": None}
TURN = [{"role": "user", "content": 'Say "1 + 1 = ?" in ünicode'}]


def config(**changes) -> dict:
    """The tracked keys of the rule that makes model.json."""
    block = {
        "source": SOURCE,
        "server": {"served_model": None},
        "context_length": 4096,
        "dtype": "bfloat16",
        "trust_remote_code": False,
    }
    return {**block, **changes}


def described(tmp_path, **changes) -> dict:
    path = tmp_path / "model.json"
    model.main(
        ["--config", json.dumps(config(**changes)), "--name", "teacher", "--output", str(path)]
    )
    return tables.read_json(path)


def test_the_document(tmp_path, capsys):
    document = described(tmp_path)
    assert (
        document["kind"] == "server"
        and document.context_length == 4096
        and document.parameters is None
    )
    assert document["served_model"] == "org/teacher" and "http" not in json.dumps(document)
    assert "teacher: served, context 4096" in capsys.readouterr().err
    assert described(tmp_path, context_length=8192)["digest"] == document.digest
    renewed = described(tmp_path, source={**SOURCE, "revision": "2026-05"})
    renamed = described(tmp_path, source={**SOURCE, "model": "org/other"})
    assert len({document.digest, renewed["digest"], renamed["digest"]}) == 3


def test_a_prompt_is_the_canonical_json_of_what_is_asked(tmp_path):
    tokenizer = checkpoints.load_tokenizer(described(tmp_path))
    prompt = templates.render(tokenizer, TURN)
    assert prompt == '{"messages":[{"content":"Say \\"1 + 1 = ?\\" in ünicode","role":"user"}]}'
    quick = templates.render(tokenizer, TURN, enable_thinking=False)
    assert json.loads(quick) == {
        "messages": TURN,
        "chat_template_kwargs": {"enable_thinking": False},
    }


def test_it_has_neither_weights_nor_tokens(tmp_path):
    document = described(tmp_path)
    tokenizer = checkpoints.load_tokenizer(document)
    with pytest.raises(
        InputError, match=r"models\.teacher\.source: .*no tokenizer here, so it cannot be trained"
    ):
        templates.render(tokenizer, TURN, add_generation_prompt=False)
    with pytest.raises(InputError, match="cannot be trained"):
        tokenizer("text", add_special_tokens=False)
    with pytest.raises(InputError, match=r"models\.teacher\.source: .*no weights here"):
        checkpoints.load_model(document)


def test_the_stage_samples_from_a_server_and_pays_once(tmp_path, monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "sk-secret")
    server = ScriptedServer()
    try:
        server.script = lambda body, attempt: answer(body, "\\boxed{2}", reasoning="one and one")
        described(tmp_path)
        problems = {"problem_id": ["a", "b"], "problem": ["1 + 1", "2 + 2"], "answer": ["2", "4"]}
        frame = pl.DataFrame(problems).with_columns(
            solution=pl.lit(None, pl.String),
            teacher_trace=pl.lit(None, pl.String),
            meta=pl.struct(level=pl.lit(1)),
        )
        tables.write(frame, tmp_path / "problems.parquet", tables.PROBLEMS, {})
        generation = {
            "num_samples": 3,
            "temperature": 0.6,
            "top_p": 1.0,
            "repetition_penalty": 1.0,
            "max_tokens": 64,
            "seed": 0,
        }
        keys = {
            "prompts": "chat",
            "generation": {**generation, "engine": "openai"},
            "enable_thinking": True,
        }
        paths = {
            "problems": "problems.parquet",
            "model": "model.json",
            "cells": "cells",
            "output": "samples.parquet",
        }
        words = [
            word for name, path in paths.items() for word in (f"--{name}", str(tmp_path / path))
        ]
        words += ["--base-url", server.url, "--api-key-env", "TEACHER_KEY"]
        sample.main(["--config", json.dumps(keys), *words])
        samples = tables.read(tmp_path / "samples.parquet", tables.SAMPLES)
        assert samples.height == 6 and len(server.bodies) == 6
        assert set(samples["response"]) == {"<think>\none and one\n</think>\n\n\\boxed{2}"}
        assert {body["chat_template_kwargs"]["enable_thinking"] for body in server.bodies} == {True}
        written = (tmp_path / "samples.parquet").read_bytes()
        sample.main(["--config", json.dumps(keys), *words])
        assert len(server.bodies) == 6 and (tmp_path / "samples.parquet").read_bytes() == written
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert len(files) >= 4 and not [path for path in files if b"sk-secret" in path.read_bytes()]
    finally:
        server.close()


def test_a_document_says_what_it_is():
    assert served.is_served({"kind": "server"}) and not served.is_served({"model": "tiny"})
