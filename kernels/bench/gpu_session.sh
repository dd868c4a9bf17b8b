#!/usr/bin/env bash
# Everything that needs a GPU, in this order: compilation, tests, benchmarks. Takes 15 to 30 minutes
# (an estimate).
#
# Run it from any folder with a Python that has torch (CUDA), triton, transformers and pytest.
# compute-sanitizer runs if it is installed; liger-kernel and cut-cross-entropy are optional peers in
# the benchmarks. The variable PYTHON names the Python, OUT the folder of tables and logs (default:
# gpu-session).
#
# A wrong result ends the session before anything is timed. If the session passes, add the major
# compute capability of the GPU to PROVEN_CAPABILITIES in orion_kernels/dispatch.py, which makes the
# Triton kernels the default there, and the tables to README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python}
out=${OUT:-gpu-session}
mkdir -p "$out"
export PYTHONPATH="$PWD/kernels${PYTHONPATH:+:$PYTHONPATH}"

"$python" - <<'PY' | tee "$out/versions.txt"
import torch, transformers, triton
assert torch.cuda.is_available(), "no GPU is visible to torch"
versions = (("torch", torch), ("triton", triton), ("transformers", transformers))
print(torch.cuda.get_device_name(), *(f"| {name} {m.__version__}" for name, m in versions))
PY
"$python" -m orion_kernels.aot | tee "$out/compiled.txt"
# tests that run in Triton's interpreter elsewhere run on the GPU here, as do those that need one
tests=(tests/kernels/test_on_gpu.py tests/kernels/cross_entropy/test_triton.py
    tests/kernels/attention/test_triton.py tests/kernels/test_training.py)
"$python" -m pytest "${tests[@]}" -p no:cacheprovider -q -rs | tee "$out/tests.txt"
if command -v compute-sanitizer > /dev/null; then
    for tool in memcheck racecheck; do
        compute-sanitizer --tool "$tool" --error-exitcode 1 "$python" -m pytest -p no:cacheprovider -q \
            tests/kernels/attention/test_triton.py tests/kernels/cross_entropy/test_triton.py \
            -k "odd_shapes or random_documents" | tee "$out/$tool.txt"
    done
else
    echo "compute-sanitizer is not installed: no memcheck, no racecheck" | tee "$out/memcheck.txt"
fi
for benchmark in linear_cross_entropy packed_attention; do
    "$python" -m "kernels.bench.$benchmark" --device cuda --preset h200 --json | tee "$out/$benchmark.txt"
done
