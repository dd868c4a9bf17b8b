"""Triton's kernels on this machine: on its GPU, or as Python functions under Triton's interpreter.

The interpreter is chosen by TRITON_INTERPRET=1 when triton is imported, its own functions included. The variable is removed
again, so that no subprocess of another test inherits it. Imported by conftest.py before anything else imports triton.
"""

import importlib
import os
import sys

import torch

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"


def load() -> None:
    if CUDA:
        return
    # gluon is imported by the first launch otherwise, and must have seen the variable too
    kernels = (
        "attention_kernels",
        "cross_entropy_kernels",
        "cross_entropy_triton",
        "attention_triton",
    )
    before, there = os.environ.get("TRITON_INTERPRET"), sys.modules.get("triton")
    if there is not None and isinstance(there.language.cdiv, there.JITFunction):
        raise RuntimeError(
            "triton was imported before tests/kernels/conftest.py without TRITON_INTERPRET=1"
        )
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        importlib.import_module("triton.experimental.gluon")
        for name in kernels:
            importlib.import_module(f"orion_kernels.{name}")
    finally:
        if before is None:
            del os.environ["TRITON_INTERPRET"]
