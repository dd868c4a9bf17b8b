"""The blocks ceiling and prices: what is refused, and that they are among no stage's keys."""

import json

import pytest

from orion import config
from orion.config.ceiling import list_priced_models
from orion.config.stages import STAGES
from orion.errors import InputError
from orion.spending.ceiling import Ceiling, read_ceiling
from tests.helpers import fake_results

# of models and arms that this run does not have
OTHER_KINDS = ("unpack_student", "dequantise", "match")
PLAIN = fake_results.configuration(20, 3)
SERVER = {
    "source": {"kind": "server", "model": "big"},
    "context_length": 4096,
    "server": {"base_url": "http://localhost:1/v1"},
}


def validate(raw=PLAIN, **blocks):
    return config.validate({**raw, **blocks})


def with_teacher():
    """The same run with a teacher that a server has."""
    teacher = {**PLAIN["sample"], "num_samples": 1, "engine": "openai", "max_tokens": 64}
    datasets = {name: {**block, "teacher": "big"} for name, block in PLAIN["datasets"].items()}
    for block in datasets.values():
        block["fields"] = {**block["fields"], "teacher_trace": None}
    models = {**PLAIN["models"], "big": SERVER}
    return {**PLAIN, "datasets": datasets, "models": models, "teacher": teacher}


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ({"ceiling": {"tokens": -5}}, "ceiling.tokens: Input should be greater than or equal to 1"),
        ({"ceiling": {"completions": 0}}, "ceiling.completions: Input should be greater"),
        ({"ceiling": {"completions": 1.5}}, "ceiling.completions: Input should be a valid integer"),
        ({"ceiling": {"hours": 0}}, "ceiling.hours: Input should be greater than 0"),
        ({"ceiling": {"hours": -1.0}}, "ceiling.hours: Input should be greater than 0"),
        ({"ceiling": {"hours": float("inf")}}, "ceiling.hours: Input should be a finite number"),
        ({"ceiling": {"hours": float("nan")}}, "ceiling.hours: Input should be"),
        ({"ceiling": {"hours": "2h"}}, "not the text '2h': write a number without quotes"),
        ({"ceiling": {"minutes": 3}}, "ceiling.minutes: unknown key"),
        ({"ceiling": {"gpu_hours": 3}}, "ceiling.gpu_hours: unknown key"),
        ({"ceiling": {"money": 3}}, "ceiling.money needs prices.hour. Give the prices, 0 for"),
        ({"ceiling": {"money": 3}, "prices": {"prompt": 1}}, "ceiling.money needs prices.hour"),
        ({"prices": {"hour": -1}}, "prices.hour: Input should be greater than or equal to 0"),
        ({"prices": {"gpu": 1}}, "prices.gpu: unknown key"),
        ({"prices": {"prompt": {"nobody": 1}}}, "prices.prompt: nobody is not defined under model"),
    ],
)
def test_bad_values_are_refused_by_their_key(blocks, message):
    with pytest.raises(InputError) as error:
        validate(**blocks)
    assert message in str(error.value)


def test_money_needs_the_prices_of_served_models_only():
    raw = with_teacher()
    assert list_priced_models(validate(raw)) == ["big"] and list_priced_models(validate()) == []
    ceiling = {"money": 10}
    with pytest.raises(InputError) as error:
        validate(raw, ceiling=ceiling, prices={"hour": 0, "prompt": 1, "completion": {"tiny": 1}})
    assert "needs prices.completion of models.big, which a server is asked for" in str(error.value)
    # the model that writes an arm's reflections in the place of the student
    arms = {**PLAIN["arms"], "orion": {**PLAIN["arms"]["orion"]}}
    arms["orion"]["reflect"] = {"model": "big", "engine": "openai"}
    written = {**PLAIN, "models": {**PLAIN["models"], "big": SERVER}, "arms": arms}
    assert list_priced_models(validate(written, prompts="chat")) == ["big"]
    prices = {"hour": 0, "prompt": 1, "completion": {"big": 4}}
    text = config.tell_ceiling(validate(raw, ceiling=ceiling, prices=prices))
    assert read_ceiling(text) == Ceiling(money=10, hour=0, prices={"big": [1, 4]})


@pytest.mark.parametrize(
    ("ceiling", "expected"),
    [
        (None, None),
        ({}, None),
        ({"tokens": 5, "hours": 1.5}, Ceiling(tokens=5, hours=1.5)),
        ({"completions": 7, "money": 2}, Ceiling(completions=7, money=2, hour=0.25)),
    ],
)
def test_the_stages_read_what_the_configuration_says(ceiling, expected):
    text = config.tell_ceiling(validate(ceiling=ceiling, prices={"hour": 0.25}))
    assert read_ceiling(text) == expected


def test_no_stage_has_them_among_its_keys():
    names = {
        "dataset": "chains",
        "model": "tiny",
        "arm": "orion",
        "seed": "1",
        "benchmark": "chains-test",
    }
    rich = validate(
        ceiling={"tokens": 5, "hours": 1.5, "money": 3}, prices={"hour": 1, "prompt": {"tiny": 2}}
    )
    plain = validate()
    compared = 0
    for stage, read in STAGES.items():
        wanted = read.__code__.co_varnames[1 : read.__code__.co_argcount]
        if not set(wanted) <= set(names) or stage in OTHER_KINDS:
            continue
        given = {name: names[name] for name in wanted}
        assert config.params(rich, stage, **given) == config.params(plain, stage, **given), stage
        compared += 1
    assert compared >= 18
    report = json.loads(config.params(rich, "report"))["whole"]
    assert "ceiling" not in report and "prices" not in report
    assert config.plan_digest(rich) == config.plan_digest(plain)
