"""Which implementation runs by default, and what happens without the package triton."""

import subprocess
import sys
import warnings

import pytest
import torch
from orion_kernels import Packing, dispatch, linear_cross_entropy, packed_attention

CODE = """
import sys
sys.modules["triton"] = None
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "triton" else find(name, *rest)
import torch
from orion_kernels import Packing, linear_cross_entropy, packed_attention

x = torch.randn(3, 4, requires_grad=True)
linear_cross_entropy(x, torch.randn(5, 4), torch.tensor([0, 4, -100])).backward()
q = torch.randn(3, 1, 64)
packed_attention(q, q, q, Packing.from_seq_lengths([1, 2]))
for call in (
    lambda: linear_cross_entropy(x, torch.randn(5, 4), torch.tensor([0, 4, -100]), impl="triton"),
    lambda: packed_attention(q, q, q, Packing.from_seq_lengths([1, 2]), impl="triton"),
):
    try:
        call()
    except ValueError as error:
        assert "needs the package triton" in str(error), error
    else:
        raise AssertionError("no error")
print("fine")
"""


def test_everything_but_the_kernels_works_without_triton():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.stdout == "fine\n", done.stderr


class OnDevice:
    """The part of a CUDA tensor that decides the implementation."""

    device = torch.device("cuda")


@pytest.mark.parametrize(
    ("capability", "chosen"),
    [((9, 0), True), ((10, 3), True), ((8, 0), False), ((8, 9), False), ((12, 0), False)],
)
def test_the_default_depends_on_the_capability_of_the_gpu(monkeypatch, capability, chosen):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert not dispatch.uses_triton_by_default(OnDevice, "this"), (
        "the kernels have not passed on any GPU"
    )
    monkeypatch.setattr(dispatch, "PROVEN_CAPABILITIES", (9, 10))
    assert dispatch.uses_triton_by_default(OnDevice, "this") is chosen


def test_a_missing_triton_warns_once(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(dispatch, "is_triton_installed", lambda: False)
    monkeypatch.setattr(dispatch, "PROVEN_CAPABILITIES", (9,))
    dispatch._warn_triton_missing.cache_clear()
    message = "triton is not installed: this uses its torch implementation"
    with pytest.warns(UserWarning, match=message) as caught:
        assert not dispatch.uses_triton_by_default(OnDevice, "this")
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not dispatch.uses_triton_by_default(OnDevice, "this")


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU the kernels are not interpreted")
def test_on_a_cpu_torch_is_the_default():
    x, y = torch.randn(3, 4), torch.tensor([0, 4, -100])
    w = torch.randn(5, 4)
    assert torch.equal(linear_cross_entropy(x, w, y), linear_cross_entropy(x, w, y, impl="torch"))
    q, packing = torch.randn(5, 2, 64), Packing.from_seq_lengths([2, 3])
    assert torch.equal(
        packed_attention(q, q, q, packing), packed_attention(q, q, q, packing, impl="torch")
    )


def test_the_default_is_described_with_its_reason(monkeypatch):
    cuda = torch.device("cuda")
    cpu, half = torch.device("cpu"), torch.bfloat16
    monkeypatch.setattr(dispatch, "has_bfloat16_products", lambda: True)
    assert dispatch.describe_default(cpu, torch.float32) == (
        "the torch implementation on cpu: products in float32 or wider, one call per document"
    )
    assert "products rounded to bfloat16" in dispatch.describe_default(cpu, half)
    monkeypatch.setattr(dispatch, "has_bfloat16_products", lambda: False)
    assert "products in float32 or wider" in dispatch.describe_default(cpu, half)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "H200")
    assert dispatch.describe_default(cuda, torch.bfloat16) == (
        "the torch implementation on H200 (capability 9.0): bfloat16 products with float32 sums, "
        "attention by torch.nn.attention.varlen; the Triton kernels have not been proven on its "
        "capability"
    )
    assert "by one call per document" in dispatch.describe_default(cuda, torch.float32)
    monkeypatch.setattr(dispatch, "PROVEN_CAPABILITIES", (9,))
    monkeypatch.setattr(dispatch, "is_triton_installed", lambda: False)
    assert dispatch.describe_default(cuda, torch.bfloat16).endswith("triton is not installed")
    monkeypatch.setattr(dispatch, "is_triton_installed", lambda: True)
    assert dispatch.describe_default(cuda, torch.bfloat16) == (
        "the Triton kernels on H200 (capability 9.0)"
    )
