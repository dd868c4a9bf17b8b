"""Products of a CPU whose sums have one order, whatever the number of threads.

Input: this machine's processor. Output: the environment variable MKL_CBWR, which MKL reads at its
first product. Conditional numerical reproducibility, with STRICT: the same bits for any number of
threads (Intel oneMKL developer guide, chapter "Obtaining numerically reproducible results").
"""

import os
from pathlib import Path

VARIABLE = "MKL_CBWR"
CPU_INFO = Path("/proc/cpuinfo")
# flag of a processor → the mode, the first that fits
MODES = {"avx512f": "AVX512,STRICT", "avx2": "AVX2,STRICT"}


def fix_order_of_sums() -> None:
    """Let a training on a CPU give the same bits with one thread and with several.

    To be called before the first product. For Intel's processors alone: there two threads gave
    other weights than one (LOG.md, 2026-12-01), and other vendors' were not tried in this mode. A
    training takes about 5 % longer. A value that the environment has is kept.
    """
    try:
        text = CPU_INFO.read_text()
    except OSError:
        return
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    mode = next((mode for flag, mode in MODES.items() if flag in flags), None)
    if "GenuineIntel" in text and mode is not None:
        os.environ.setdefault(VARIABLE, mode)
