#!/usr/bin/env bash
# All that needs a GPU, in this order: what compiles, what is right, what is fast. Should take 15 to 30 minutes (an estimate).
# Run from anywhere with a Python that has torch (CUDA), triton, transformers and pytest; compute-sanitizer runs where it is found,
# liger-kernel and cut-cross-entropy are optional peers. PYTHON names that Python; the tables and logs go to the folder OUT
# (default: gpu-session).
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
# the same tests that run in the interpreter elsewhere run on the GPU here, and those that need one beside them
tests=(tests/kernels/test_on_gpu.py tests/kernels/test_triton_linear_cross_entropy.py
    tests/kernels/test_triton_packed_attention.py tests/kernels/test_training.py)
"$python" -m pytest "${tests[@]}" -p no:cacheprovider -q -rs | tee "$out/tests.txt"
if command -v compute-sanitizer > /dev/null; then
    for tool in memcheck racecheck; do
        compute-sanitizer --tool "$tool" --error-exitcode 1 "$python" -m pytest -p no:cacheprovider -q \
            tests/kernels/test_triton_packed_attention.py tests/kernels/test_triton_linear_cross_entropy.py \
            -k "odd_shapes or random_documents" | tee "$out/$tool.txt"
    done
else
    echo "compute-sanitizer is not installed: no memcheck, no racecheck" | tee "$out/memcheck.txt"
fi
"$python" kernels/bench/linear_cross_entropy.py --device cuda --preset h200 --json | tee "$out/linear_cross_entropy.txt"
"$python" kernels/bench/packed_attention.py --device cuda --preset h200 --json | tee "$out/packed_attention.txt"
