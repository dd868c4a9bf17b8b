"""The distribution: its version is readable without torch, and every public name resolves."""

import importlib.metadata
import subprocess
import sys

import orion_kernels


def test_version_is_the_distributions_and_needs_no_torch():
    code = "import sys, orion_kernels; print(orion_kernels.__version__, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [importlib.metadata.version("orion-kernels"), "False"]


def test_public_names_resolve():
    assert all(getattr(orion_kernels, name) is not None for name in orion_kernels.__all__)
    assert not hasattr(orion_kernels, "nonexistent")
