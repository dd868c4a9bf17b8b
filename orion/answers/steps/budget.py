"""The time of one text, and whether a worker may still be asked in it.

Input: seconds. Output: `Budget`.
"""

from __future__ import annotations

import time

# seconds of a worker for one claim
SYMPY_S = 0.8


class Budget:
    """The deadline of a text. One lost worker ends the questions to workers in that text."""

    def __init__(self, timeout_s: float) -> None:
        self.deadline = time.monotonic() + timeout_s
        self.worker_lost = False

    def seconds_left(self) -> float:
        """Seconds until the deadline, negative behind it."""
        return self.deadline - time.monotonic()

    def allows_worker(self) -> bool:
        """Whether there is time for a worker, and none was lost."""
        return not self.worker_lost and self.seconds_left() > SYMPY_S
