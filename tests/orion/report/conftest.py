"""One invented results folder with its report for all tests here, and the helpers that lie beside the tests."""

import importlib.util
import json
import os
import shutil
from pathlib import Path

import pytest

from orion.config import params, validate
from orion.stages.report import main

HERE = Path(__file__).parent


def _beside(name: str):
    spec = importlib.util.spec_from_file_location(f"report_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fake():
    return _beside("fake")


@pytest.fixture(scope="session")
def recompute():
    return _beside("recompute")


@pytest.fixture(scope="session")
def shown():
    return _beside("shown")


class Run:
    """A working directory with results, and the report stage run in it."""

    def __init__(self, folder: Path, raw: dict):
        self.folder, self.raw = folder, raw
        self.results = folder / "results"

    def report(self) -> Path:
        """Run the stage as the workflow does; returns the report's folder."""
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            main(
                [
                    "--config",
                    params(validate(self.raw), "report"),
                    "--results",
                    "results",
                    "--output-dir",
                    REPORT,
                ]
            )
        finally:
            os.chdir(before)
        return self.folder / REPORT

    @property
    def doc(self) -> dict:
        return json.loads((self.folder / REPORT / "report.json").read_text(encoding="utf-8"))

    @property
    def page(self) -> str:
        return (self.folder / REPORT / "index.html").read_text(encoding="utf-8")


REPORT = "results/report"


@pytest.fixture(scope="session")
def finished(tmp_path_factory, fake) -> Run:
    """All eight arms, two seeds, two benchmarks; read only."""
    run = Run(tmp_path_factory.mktemp("run"), fake.configuration())
    fake.make(run.folder, run.raw)
    run.report()
    return run


@pytest.fixture
def copy(finished, tmp_path) -> Run:
    """The finished run, to be changed."""
    shutil.copytree(finished.folder, tmp_path / "run")
    return Run(tmp_path / "run", json.loads(json.dumps(finished.raw)))


@pytest.fixture
def small(fake, tmp_path):
    """Builds a run from the fake configuration after a change to it: ``small(lambda raw: ...)``."""

    def build(change) -> Run:
        raw = fake.configuration(problems=12, k=2)
        change(raw)
        fake.make(tmp_path, raw)
        return Run(tmp_path, raw)

    return build
