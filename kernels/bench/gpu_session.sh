#!/usr/bin/env bash
# All that needs a GPU, in this order: what compiles, what is right, what is fast. About 15 minutes on an H200.
# Run from anywhere with a Python that has torch (CUDA), triton, transformers and pytest; liger-kernel and cut-cross-entropy are
# optional peers. PYTHON names that Python; the tables and logs go to the folder OUT (default: gpu-session).
# A wrong result ends it before anything is timed. When it has passed, add the GPU's major compute capability to
# orion_kernels/dispatch.py (PROVEN), which makes the Triton kernels the default there, and the tables to README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python}
out=${OUT:-gpu-session}
mkdir -p "$out"
export PYTHONPATH="$PWD/kernels${PYTHONPATH:+:$PYTHONPATH}"

"$python" - <<'PY' | tee "$out/versions.txt"
import torch, transformers, triton
assert torch.cuda.is_available(), "no GPU is visible to torch"
print(torch.cuda.get_device_name(), "| torch", torch.__version__, "| triton", triton.__version__, "| transformers", transformers.__version__)
PY
"$python" -m orion_kernels.aot | tee "$out/compiled.txt"
"$python" -m pytest tests/kernels -m gpu -p no:cacheprovider -q -rs | tee "$out/tests.txt"
"$python" kernels/bench/linear_cross_entropy.py --device cuda --preset h200 --json | tee "$out/linear_cross_entropy.txt"
"$python" kernels/bench/packed_attention.py --device cuda --preset h200 --json | tee "$out/packed_attention.txt"
