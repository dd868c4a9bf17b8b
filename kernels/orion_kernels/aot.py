"""Compiles every shipped Triton configuration for a named GPU without having one, and refuses those that would run slowly.

Inputs: the `shipped()` tables of the kernel modules, which are the tables that the host code launches from. Output: a table of
registers, spills, shared memory and tensor-core instructions; exit status 1 where a gate fails.
Run: python -m orion_kernels.aot [--capability 90]   (TRITON_INTERPRET must not be set)
"""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# every module here has a function shipped() -> list[Config]
MODULES = ("attention_configs", "cross_entropy_configs")

# dynamic shared memory that one program may ask for, in bytes, by compute capability (CUDA C++ Programming Guide, table of
# technical specifications: 227 KB on 9.0 and 10.0, 163 KB on 8.0, 99 KB on 8.6 and 8.9)
SHARED_LIMIT = {80: 166912, 86: 101376, 89: 101376, 90: 232448, 100: 232448}


@dataclass(frozen=True)
class Config:
    """One compiled form of a kernel.

    signature gives the type of every argument that is not a constexpr: "*bf16" a pointer aligned to 16 bytes, "*bf16:1" one that
    need not be, "i32" an integer, "i32:16" one known to be a multiple of 16, "tensordesc<bf16[128,64]>" a tensor descriptor.
    """

    name: str
    kernel: Any  # triton.JITFunction
    signature: dict[str, str]
    constexprs: dict[str, object]
    num_warps: int
    num_stages: int
    needs_tensor_cores: bool = True


@dataclass(frozen=True)
class Built:
    """What the compiler made of a Config."""

    name: str
    registers: int  # a thread
    stack_bytes: int
    spills: int  # STL and LDL instructions in the machine code
    shared_bytes: int
    hgmma: int  # warpgroup tensor-core instructions
    utmaldg: int  # loads by the tensor memory accelerator
    narrow_stores: int  # stores of one or two bytes a thread


def build(config: Config, capability: int = 90) -> Built:
    """Compile a configuration; raises what the compiler raises, and RuntimeError under the interpreter."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    if triton.knobs.runtime.interpret or not hasattr(config.kernel, "cache_key"):
        raise RuntimeError(
            "compile with TRITON_INTERPRET unset: its kernels are Python functions, not programs"
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
        if _aligned(config.signature.get(n, ""))
    }
    constants = {(names.index(n),): value for n, value in config.constexprs.items()}
    source = ASTSource(config.kernel, types, constants, attributes)
    options = {"num_warps": config.num_warps, "num_stages": config.num_stages}
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as binary:
        binary.write(compiled.asm["cubin"])
        binary.flush()
        usage = _run(tools / "cuobjdump", "-res-usage", binary.name)
        code = _run(tools / "nvdisasm", "-c", binary.name)
    return Built(
        config.name,
        registers=_number(r"REG:(\d+)", usage),
        stack_bytes=_number(r"STACK:(\d+)", usage),
        spills=len(re.findall(r"\b(?:STL|LDL)\b", code)),
        shared_bytes=compiled.metadata.shared,
        hgmma=len(re.findall(r"\bHGMMA\b", code)),
        utmaldg=len(re.findall(r"\bUTMALDG\b", code)),
        narrow_stores=len(re.findall(r"\bSTG\.E(?:\.\w+)*\.[US](?:8|16)\b", code)),
    )


def faults(built: Built, config: Config, capability: int = 90) -> list[str]:
    """What is wrong with a compiled configuration, one sentence each; empty where it may ship."""
    found = []
    if built.spills:
        found.append(f"{built.spills} instructions spill registers to memory")
    if config.needs_tensor_cores and capability == 90 and not built.hgmma:
        found.append("no warpgroup tensor-core instruction (HGMMA)")
    if config.needs_tensor_cores and built.narrow_stores:
        # a mask whose end the compiler knows nothing of makes sixteen-byte stores of a matrix into as many of two
        found.append(f"{built.narrow_stores} stores of one or two bytes a thread")
    if built.shared_bytes > SHARED_LIMIT[capability]:
        found.append(
            f"{built.shared_bytes} bytes of shared memory, but {SHARED_LIMIT[capability]} exist"
        )
    if (
        any(kind.startswith("tensordesc") for kind in config.signature.values())
        and capability >= 90
        and not built.utmaldg
    ):
        found.append("tensor descriptors, but no load by the tensor memory accelerator (UTMALDG)")
    return found


def configurations() -> list[Config]:
    """All shipped configurations of all kernel modules."""
    tables: list[Callable[[], list[Config]]] = [
        importlib.import_module(f"orion_kernels.{module}").shipped for module in MODULES
    ]
    return [config for shipped in tables for config in shipped()]


def _aligned(kind: str) -> bool:
    return kind.endswith(":16") or (kind.startswith("*") and ":" not in kind)


def _number(pattern: str, text: str) -> int:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"cuobjdump printed nothing like {pattern!r}")
    return int(match.group(1))


def _run(*command: object) -> str:
    return subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, check=True
    ).stdout


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--capability", type=int, default=90, choices=sorted(SHARED_LIMIT))
    capability = parser.parse_args().capability
    print(
        f"| {'configuration':52} | registers | stack | spills | shared | HGMMA | UTMALDG | faults"
    )
    failed = 0
    for config in configurations():
        built = build(config, capability)
        wrong = faults(built, config, capability)
        failed += bool(wrong)
        print(
            f"| {built.name:52} | {built.registers:9} | {built.stack_bytes:5} | {built.spills:6} | {built.shared_bytes:6} "
            f"| {built.hgmma:5} | {built.utmaldg:7} | {'; '.join(wrong) or '-'}",
            flush=True,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
