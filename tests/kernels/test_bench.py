"""The benchmarks run on tiny shapes, and what computes the wrong thing is refused instead of timed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).parents[2] / "kernels" / "bench"
TINY = {
    "linear_cross_entropy.py": ["--shapes", "40,8,19", "--ignored", "0.5"],
    "packed_attention.py": ["--documents", "3", "--lengths", "2", "9", "--heads", "2,1,8"],
}


@pytest.mark.parametrize("script", TINY)
def test_smoke(script):
    command = [sys.executable, str(BENCH / script), "--rounds", "2", "--json", *TINY[script]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"milliseconds"') == 3 and "REFUSED" not in done.stdout


def test_a_wrong_provider_is_not_timed(capsys, monkeypatch):
    spec = importlib.util.spec_from_file_location("bench_protocol", BENCH / "protocol.py")
    protocol = importlib.util.module_from_spec(spec)
    # dataclasses look their module up by name
    monkeypatch.setitem(sys.modules, "bench_protocol", protocol)
    spec.loader.exec_module(protocol)
    want = [torch.ones(3, dtype=torch.float64)]
    calls = []

    def wrong():
        calls.append(1)
        return [torch.tensor([1.0, 1.0, float("nan")])]

    rows = protocol.measure("case", {"right": lambda: [torch.ones(3)], "off": wrong}, want, limit=1e-6, rounds=3)
    assert len(calls) == 1 and rows[1].milliseconds is None and rows[0].milliseconds is not None
    assert protocol.report(rows, as_json=False) == 1
    assert "REFUSED" in capsys.readouterr().out
