"""Compile every shipped Triton configuration for a named GPU ahead of time and gate the result.

No GPU is needed. The configurations are those of the two `triton_configs` modules, from which the
host code launches. Prints registers, spills, shared memory and tensor-core instructions of each;
the exit status is 1 if any configuration would run slowly or not fit. Run: python -m
orion_kernels.aot [--capability 90]   (TRITON_INTERPRET must not be set)
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from orion_kernels.kernel_config import KernelConfig

# dynamic shared memory that one program may request, in bytes, by compute capability (CUDA C++
# Programming Guide, table of technical specifications: 227 KB on 9.0 and 10.0, 163 KB on 8.0, 99 KB
# on 8.6 and 8.9)
SHARED_MEMORY_LIMIT = {80: 166912, 86: 101376, 89: 101376, 90: 232448, 100: 232448}


@dataclass(frozen=True)
class CompiledKernel:
    """What the compiler made of a `KernelConfig`."""

    name: str
    registers: int  # per thread
    stack_bytes: int
    spills: int  # STL and LDL instructions in the machine code
    shared_bytes: int
    hgmma: int  # warpgroup tensor-core instructions
    utmaldg: int  # loads by the tensor memory accelerator
    narrow_stores: int  # stores of one or two bytes per thread


def compile_config(config: KernelConfig, capability: int = 90) -> CompiledKernel:
    """Compile one configuration.

    Raises what the compiler raises, and RuntimeError under Triton's interpreter.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    if triton.knobs.runtime.interpret or not hasattr(config.kernel, "cache_key"):
        raise RuntimeError(
            "unset TRITON_INTERPRET to compile: the interpreter's kernels are Python functions"
        )
    names = config.kernel.arg_names
    missing = [n for n in names if n not in config.signature and n not in config.constexprs]
    if missing:
        raise ValueError(f"{config.name}: no type and no value for the arguments {missing}")
    types = {
        n: config.signature[n].partition(":")[0] if n in config.signature else "constexpr"
        for n in names
    }
    attributes = {
        (i,): [["tt.divisibility", 16]]
        for i, n in enumerate(names)
        if _is_aligned(config.signature.get(n, ""))
    }
    constants = {(names.index(n),): value for n, value in config.constexprs.items()}
    source = ASTSource(config.kernel, types, constants, attributes)
    options = {"num_warps": config.num_warps, "num_stages": config.num_stages}
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as binary:
        binary.write(compiled.asm["cubin"])
        binary.flush()
        usage = _run_tool(tools / "cuobjdump", "-res-usage", binary.name)
        code = _run_tool(tools / "nvdisasm", "-c", binary.name)
    return CompiledKernel(
        config.name,
        registers=_find_number(r"REG:(\d+)", usage),
        stack_bytes=_find_number(r"STACK:(\d+)", usage),
        spills=len(re.findall(r"\b(?:STL|LDL)\b", code)),
        shared_bytes=compiled.metadata.shared,
        hgmma=len(re.findall(r"\bHGMMA\b", code)),
        utmaldg=len(re.findall(r"\bUTMALDG\b", code)),
        narrow_stores=len(re.findall(r"\bSTG\.E(?:\.\w+)*\.[US](?:8|16)\b", code)),
    )


def find_faults(compiled: CompiledKernel, config: KernelConfig, capability: int = 90) -> list[str]:
    """One sentence per fault of a compiled configuration; an empty list if it may ship."""
    found = []
    if compiled.spills:
        found.append(f"{compiled.spills} instructions spill registers to memory")
    if config.needs_tensor_cores and capability == 90 and not compiled.hgmma:
        found.append("no warpgroup tensor-core instruction (HGMMA)")
    if config.needs_tensor_cores and compiled.narrow_stores:
        # a mask with an end unknown to the compiler splits each 16-byte store into stores of 2
        # bytes
        found.append(f"{compiled.narrow_stores} stores of one or two bytes per thread")
    limit = SHARED_MEMORY_LIMIT[capability]
    if compiled.shared_bytes > limit:
        found.append(f"{compiled.shared_bytes} bytes of shared memory, but only {limit} exist")
    if (
        any(kind.startswith("tensordesc") for kind in config.signature.values())
        and capability >= 90
        and not compiled.utmaldg
    ):
        found.append("tensor descriptors, but no load by the tensor memory accelerator (UTMALDG)")
    return found


def list_shipped_configs() -> list[KernelConfig]:
    """All shipped configurations of both operators."""
    # imported here: only this function needs triton
    from orion_kernels.attention import triton_configs as attention_configs
    from orion_kernels.cross_entropy import triton_configs as cross_entropy_configs

    return [
        *attention_configs.list_shipped_configs(),
        *cross_entropy_configs.list_shipped_configs(),
    ]


def _is_aligned(kind: str) -> bool:
    return kind.endswith(":16") or (kind.startswith("*") and ":" not in kind)


def _find_number(pattern: str, text: str) -> int:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"the output of cuobjdump has no match for {pattern!r}")
    return int(match.group(1))


def _run_tool(*command: object) -> str:
    return subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, check=True
    ).stdout


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--capability", type=int, default=90, choices=sorted(SHARED_MEMORY_LIMIT))
    capability = parser.parse_args().capability
    print(
        f"| {'configuration':64} | registers | stack | spills | shared | HGMMA | UTMALDG | faults"
    )
    num_failed = 0
    for config in list_shipped_configs():
        compiled = compile_config(config, capability)
        faults = find_faults(compiled, config, capability)
        num_failed += bool(faults)
        print(
            f"| {compiled.name:64} | {compiled.registers:9} | {compiled.stack_bytes:5} "
            f"| {compiled.spills:6} | {compiled.shared_bytes:6} | {compiled.hgmma:5} "
            f"| {compiled.utmaldg:7} | {'; '.join(faults) or '-'}",
            flush=True,
        )
    return 1 if num_failed else 0


if __name__ == "__main__":
    sys.exit(main())
