"""Deadlines of the answer tests: none that a busy machine can miss, unless a test sets its own."""

import pytest

from orion.answers import api, frame
from orion.answers.workers import pool

PATIENCE_S = 120.0


def _patient(defaults):
    """Default values of a function with the default deadline made longer."""
    if isinstance(defaults, dict):
        return {name: _patient((value,))[0] for name, value in defaults.items()}
    return defaults and tuple(
        PATIENCE_S if value == api.DEFAULT_TIMEOUT_S else value for value in defaults
    )


@pytest.fixture(autouse=True, scope="session")
def long_deadlines():
    with pytest.MonkeyPatch.context() as patch:
        for function in (api.check, api.check_many, frame.check_frame):
            patch.setattr(function, "__defaults__", _patient(function.__defaults__))
            patch.setattr(function, "__kwdefaults__", _patient(function.__kwdefaults__))
        patch.setattr(api, "DEFAULT_TIMEOUT_S", PATIENCE_S)
        patch.setattr(pool, "START_S", 600.0)
        yield
