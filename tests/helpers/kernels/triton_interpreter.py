"""Load the Triton kernels for the tests: on this machine's GPU, or in Triton's interpreter.

The interpreter is chosen by TRITON_INTERPRET=1 at the time when triton is imported, also for
triton's own functions. The variable is removed again, so that no subprocess of another test
inherits it. tests/kernels/conftest.py calls `load_triton` before anything else imports triton.
"""

import importlib
import os
import sys

import torch

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
MODULES = (
    # the first launch would import gluon otherwise, and it must see the variable too
    "triton.experimental.gluon",
    "orion_kernels.attention.triton_kernels",
    "orion_kernels.attention.triton_launch",
    "orion_kernels.cross_entropy.triton_kernels",
    "orion_kernels.cross_entropy.triton_row_kernels",
    "orion_kernels.cross_entropy.triton_launch",
)


def load_triton() -> None:
    """Import triton and all kernels, in the interpreter if there is no GPU."""
    if CUDA:
        return
    before, triton = os.environ.get("TRITON_INTERPRET"), sys.modules.get("triton")
    if triton is not None and isinstance(triton.language.cdiv, triton.JITFunction):
        raise RuntimeError(
            "triton was imported before tests/kernels/conftest.py without TRITON_INTERPRET=1"
        )
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        for name in MODULES:
            importlib.import_module(name)
    finally:
        if before is None:
            del os.environ["TRITON_INTERPRET"]
