"""Every shipped Triton configuration compiles for sm_90 without a GPU and passes the gate; the gate refuses what it should."""

import os
import subprocess
import sys
from dataclasses import replace

from orion_kernels.aot import Built, Config, faults

GOOD = Built(
    "some",
    registers=168,
    stack_bytes=0,
    spills=0,
    shared_bytes=98304,
    hgmma=4,
    utmaldg=6,
    narrow_stores=0,
)
CONFIG = Config("some", None, {"x": "tensordesc<bf16[128,64]>"}, {}, 8, 3)


def test_shipped_configurations():
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "orion_kernels.aot"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "logits bf16 powers, descriptors" in done.stdout


def test_faults_are_named():
    assert faults(GOOD, CONFIG) == []
    assert "spill" in faults(replace(GOOD, spills=1), CONFIG)[0]
    assert "HGMMA" in faults(replace(GOOD, hgmma=0), CONFIG)[0]
    assert faults(replace(GOOD, hgmma=0), replace(CONFIG, needs_tensor_cores=False)) == []
    assert "shared memory" in faults(replace(GOOD, shared_bytes=232449), CONFIG)[0]
    assert "UTMALDG" in faults(replace(GOOD, utmaldg=0), CONFIG)[0]
    assert "stores of one or two bytes" in faults(replace(GOOD, narrow_stores=128), CONFIG)[0]
