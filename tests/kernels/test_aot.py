"""Every shipped Triton configuration compiles for sm_90 and passes the gate, which names faults."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from orion_kernels.aot import CompiledKernel, find_faults
from orion_kernels.kernel_config import KernelConfig

pytestmark = pytest.mark.slow

GOOD = CompiledKernel(
    "some",
    registers=168,
    stack_bytes=0,
    spills=0,
    shared_bytes=98304,
    hgmma=4,
    utmaldg=6,
    narrow_stores=0,
)
CONFIG = KernelConfig("some", None, {"x": "tensordesc<bf16[128,64]>"}, {}, 8, 3)


def test_shipped_configurations():
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "orion_kernels.aot"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "logits bf16 exponentials, descriptors" in done.stdout


def test_faults_are_named():
    assert find_faults(GOOD, CONFIG) == []
    assert "spill" in find_faults(replace(GOOD, spills=1), CONFIG)[0]
    assert "HGMMA" in find_faults(replace(GOOD, hgmma=0), CONFIG)[0]
    assert find_faults(replace(GOOD, hgmma=0), replace(CONFIG, needs_tensor_cores=False)) == []
    assert "shared memory" in find_faults(replace(GOOD, shared_bytes=232449), CONFIG)[0]
    assert "UTMALDG" in find_faults(replace(GOOD, utmaldg=0), CONFIG)[0]
    assert "stores of one or two bytes" in find_faults(replace(GOOD, narrow_stores=128), CONFIG)[0]
