"""One invented results folder with its report, for all tests here."""

import json
import os
import shutil
from pathlib import Path

import pytest

from orion.config import params, validate
from orion.stages import plan
from orion.stages.report import main
from tests.helpers import fake_results

REPORT = "results/report"


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

    def register(self) -> None:
        """Run the stage that registers the plan of the configuration."""
        config, output = params(validate(self.raw), "plan"), str(self.results / "plan.json")
        plan.main(["--config", config, "--results", str(self.results), "--output", output])

    @property
    def doc(self) -> dict:
        return json.loads((self.folder / REPORT / "report.json").read_text(encoding="utf-8"))

    @property
    def page(self) -> str:
        return (self.folder / REPORT / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Run:
    """All eight arms, two seeds, two benchmarks; read only."""
    run = Run(tmp_path_factory.mktemp("run"), fake_results.configuration())
    fake_results.make(run.folder, run.raw)
    run.report()
    return run


@pytest.fixture
def copy(finished, tmp_path) -> Run:
    """The finished run, to be changed."""
    shutil.copytree(finished.folder, tmp_path / "run")
    return Run(tmp_path / "run", json.loads(json.dumps(finished.raw)))


@pytest.fixture
def small(tmp_path):
    """Builds a smaller run after a change to its configuration: ``small(lambda raw: ...)``."""

    def build(change) -> Run:
        raw = fake_results.configuration(problems=12, num_samples=2)
        change(raw)
        fake_results.make(tmp_path, raw)
        return Run(tmp_path, raw)

    return build
