"""The benchmarks run on tiny shapes, and what computes the wrong thing is refused instead of timed."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).parents[2] / "kernels" / "bench"
TINY = {
    "linear_cross_entropy": [
        "--shapes",
        "40,8,19",
        "--ignored",
        "0.5",
        "--heads",
        "trained",
        "frozen",
    ],
    "packed_attention": ["--tokens", "40", "--regimes", "short", "equal20", "--heads", "2,1,64"],
}
# what runs everywhere; for the others the table says why they do not
OURS = {
    "linear_cross_entropy": [
        "all logits, eager",
        "ours, reference",
        "ours, torch",
        "ours, triton fast",
        "ours, triton lean",
    ],
    "packed_attention": ["SDPA, dense mask", "ours, reference", "ours, torch", "ours, triton"],
}
ABSENT = {"linear_cross_entropy": "Liger, default", "packed_attention": "torch varlen_attn"}


@pytest.mark.parametrize("script", TINY)
def test_smoke(script):
    command = [
        sys.executable,
        str(BENCH / f"{script}.py"),
        "--rounds",
        "2",
        "--json",
        *TINY[script],
    ]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "TRITON_INTERPRET": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    key = "milliseconds" if script == "linear_cross_entropy" else "both_ms"
    for name in OURS[script]:
        mine = [row for row in rows if row["provider"] == name]
        assert len(mine) == 2 and all(row[key] > 0 and not row["note"] for row in mine), name
    assert all(
        row["note"] and row[key] is None for row in rows if row["provider"] == ABSENT[script]
    )


def load(name, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up by name
    monkeypatch.setitem(sys.modules, f"bench_{name}", module)
    spec.loader.exec_module(module)
    return module


def test_a_wrong_provider_is_not_timed(capsys, monkeypatch):
    bench = load("linear_cross_entropy", monkeypatch)
    calls = []

    def wrong(x, w, y):
        calls.append(1)
        return bench.eager(x, w, y) * float("nan")

    monkeypatch.setattr(bench, "providers", lambda x, w: {"right": bench.eager, "off": wrong})
    arguments = ["bench", "--shapes", "40,8,19", "--ignored", "0", "--rounds", "3"]
    monkeypatch.setattr(sys, "argv", arguments)
    before = torch.get_num_threads()
    assert bench.main() == 1 and len(calls) == 1
    torch.set_num_threads(before)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert "REFUSED" in lines[-1] and "REFUSED" not in lines[-2]
