"""Fixtures of the kernel tests: the interpreter, one thread, a random generator per test."""

import zlib

import pytest
import torch

from tests.helpers.kernels.triton_interpreter import load_triton

# before anything imports triton
load_triton()

from orion_kernels.cross_entropy import torch_chunked  # noqa: E402 (triton first)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def randn(request):
    """randn(*shape, dtype=float64): normal numbers from a generator seeded with the test's name."""
    generator = torch.Generator().manual_seed(
        zlib.crc32(request.node.nodeid.rpartition("::")[2].encode())
    )

    def draw(*shape, dtype=torch.float64):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    draw.generator = generator
    return draw


@pytest.fixture
def small_chunks(monkeypatch):
    """Several chunks of five rows and a ragged last one even at the sizes of these tests."""
    monkeypatch.setattr(torch_chunked, "MIN_CHUNK_ROWS", 5)
    monkeypatch.setitem(torch_chunked.WORKSPACE_BYTES, "cpu", 1)


@pytest.fixture
def case(randn):
    """case(...): hidden (n, hidden), weight (vocab, hidden), bias (vocab,) or None, labels (n,)."""

    def make(n=23, hidden=16, vocab=37, ignored=0.4, dtype=torch.float64, bias=True, spread=2.0):
        x = randn(n, hidden, dtype=dtype)
        w = (randn(vocab, hidden) * spread / hidden**0.5).to(dtype)
        b = randn(vocab, dtype=dtype) if bias else None
        y = torch.randint(vocab, (n,), generator=randn.generator)
        y[torch.rand(n, generator=randn.generator) < ignored] = -100
        return x, w, b, y

    return make
