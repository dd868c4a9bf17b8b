"""The command line that stages share: the configuration as a dataclass, exit codes."""

import json
from dataclasses import dataclass, field

import pytest

from orion.errors import InputError
from orion.stages import command


@dataclass(frozen=True)
class Lora:
    rank: int
    dropout: float = 0.0


@dataclass(frozen=True)
class TrainConfig:
    learning_rate: float
    lora: Lora | None = None
    generation: Lora = field(default_factory=lambda: Lora(1))
    filters: list[str] = field(default_factory=list)
    where: dict = field(default_factory=dict)


def test_keys_become_fields():
    config = command.read_config(TrainConfig, {"learning_rate": 0.5, "filters": ["loop"]})
    assert config == TrainConfig(learning_rate=0.5, filters=["loop"])


def test_an_absent_key_has_its_default():
    config = command.read_config(TrainConfig, {"learning_rate": 0.5})
    assert (config.lora, config.generation, config.filters) == (None, Lora(1), [])


def test_nested_dataclasses_are_built():
    raw = {"learning_rate": 0.5, "lora": {"rank": 8}, "generation": {"rank": 2, "dropout": 0.1}}
    config = command.read_config(TrainConfig, raw)
    assert config.lora == Lora(rank=8) and config.generation == Lora(rank=2, dropout=0.1)


def test_a_mapping_that_is_no_dataclass_stays_a_mapping():
    raw = {"learning_rate": 0.5, "where": {"level": 1}}
    assert command.read_config(TrainConfig, raw).where == {"level": 1}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"learning_rate": 0.5, "lr": 1, "beta": 2}, r"^--config: unknown keys: beta, lr$"),
        ({}, r"^--config: missing keys: learning_rate$"),
        (
            {"learning_rate": 0.5, "lora": {"rank": 8, "r": 8}},
            r"^--config\.lora: unknown keys: r$",
        ),
        ({"learning_rate": 0.5, "lora": {}}, r"^--config\.lora: missing keys: rank$"),
    ],
    ids=["unknown", "missing", "nested unknown", "nested missing"],
)
def test_keys_that_do_not_fit_are_named(raw, message):
    with pytest.raises(InputError, match=message):
        command.read_config(TrainConfig, raw)


def test_the_parser_requires_the_configuration_and_every_path(capsys):
    parser = command.make_parser("A stage.", "problems", "output")
    raw = {"learning_rate": 0.5}
    args = parser.parse_args(
        ["--config", json.dumps(raw), "--problems", "in.parquet", "--output", "out.parquet"]
    )
    assert (args.config, args.problems, args.output) == (raw, "in.parquet", "out.parquet")
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(["--config", "{}", "--problems", "in.parquet"])
    assert stop.value.code == 2 and "--output" in capsys.readouterr().err


def test_bad_input_prints_its_message_and_exits_with_2(capsys):
    def main():
        raise InputError("in.parquet: damaged; delete it and run again")

    with pytest.raises(SystemExit) as stop:
        command.run(main)
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    assert err == "error: in.parquet: damaged; delete it and run again\n"


def test_other_exceptions_keep_their_traceback():
    def main():
        raise RuntimeError("a fault of the program")

    with pytest.raises(RuntimeError, match="a fault of the program"):
        command.run(main)
