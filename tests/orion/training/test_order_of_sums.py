"""The mode in which MKL sums up, by processor; and the same bits with one thread and with two."""

import os
import subprocess
import sys

import pytest

from orion.training import order_of_sums
from orion.training.order_of_sums import VARIABLE, fix_order_of_sums

IS_INTEL = order_of_sums.CPU_INFO.is_file() and "GenuineIntel" in order_of_sums.CPU_INFO.read_text()
# the gradient of a weight, (512, 128), from 2,048 tokens, as a step of a training has it
PRODUCT = """
import hashlib, torch
from orion.training.order_of_sums import fix_order_of_sums
fix_order_of_sums()
torch.manual_seed(0)
hidden, gradient = torch.randn(2048, 128), torch.randn(2048, 512)
for _ in range(3):
    hidden = hidden + 1e-3 * gradient @ (gradient.T @ hidden)
print(torch.get_num_threads(), hashlib.sha256(hidden.numpy().tobytes()).hexdigest())
"""


@pytest.mark.parametrize(
    ("vendor", "flags", "mode"),
    [
        ("GenuineIntel", "fpu avx avx2 avx512f", "AVX512,STRICT"),
        ("GenuineIntel", "fpu avx avx2", "AVX2,STRICT"),
        ("GenuineIntel", "fpu avx", None),
        ("AuthenticAMD", "fpu avx avx2 avx512f", None),
    ],
)
def test_the_mode_is_that_of_the_processor(vendor, flags, mode, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(f"vendor_id\t: {vendor}\nflags\t\t: {flags}\n")
    monkeypatch.setattr(order_of_sums, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(os, "environ", {})
    fix_order_of_sums()
    assert os.environ == ({} if mode is None else {VARIABLE: mode})


def test_an_own_value_is_kept_and_a_machine_without_the_file_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("vendor_id : GenuineIntel\nflags : avx2\n")
    monkeypatch.setattr(order_of_sums, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(os, "environ", {VARIABLE: "COMPATIBLE"})
    fix_order_of_sums()
    assert os.environ == {VARIABLE: "COMPATIBLE"}
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(order_of_sums, "CPU_INFO", tmp_path / "nothing")
    fix_order_of_sums()
    assert os.environ == {}


@pytest.mark.skipif(not IS_INTEL, reason="no processor of Intel: the mode is not set")
def test_two_threads_sum_up_as_one_does():
    found = []
    for threads in (1, 2):
        env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        env.pop(VARIABLE, None)
        done = subprocess.run(
            [sys.executable, "-c", PRODUCT], env=env, capture_output=True, text=True, check=True
        )
        found.append(done.stdout.split())
    assert [int(threads) for threads, _ in found] == [1, 2]
    assert found[0][1] == found[1][1]
