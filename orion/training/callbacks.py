"""What happens between the steps of a training: signals that stop it, saves by time, log lines.

SIGTERM (a scheduler's end of a job) and SIGUSR1 (a scheduler's notice before it) let the running
optimiser step end, then a checkpoint is saved and the process exits with 128 plus the signal's
number, 143 or 138 on Linux, as if the signal had ended it.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from orion.progress import Progress
from orion.training.processes import say

STOPPING = (signal.SIGTERM, signal.SIGUSR1)
LINE_EVERY_S = 10.0


class StopSignals:
    """Context manager that handles SIGTERM and SIGUSR1; outside the main thread it does nothing.

    Inside ``defer()`` a signal is only noted, in ``number``. Elsewhere nothing is lost, and the
    process exits at once. A second signal does not interrupt what the first one asked for.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._is_deferred = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._before = {each: signal.signal(each, self._handle) for each in STOPPING}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number is None:
            self.number = number
            if not self._is_deferred:
                self.exit("outside the steps of the training, so no step is lost")

    @contextmanager
    def defer(self) -> Iterator[None]:
        """While this lasts, a signal waits for the end of the running step."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False

    def exit(self, when: str) -> None:
        """Say when the signal stopped the process, and exit as a process that a signal ended."""
        assert self.number is not None, "no signal has come"
        say(f"stopped by {signal.Signals(self.number).name} {when}; the same command goes on")
        raise SystemExit(128 + self.number)


class SaveAndStop(TrainerCallback):
    """Saves a checkpoint some minutes after the last one, and before a signal stops the training.

    ``minutes``: 0 saves after every step.
    """

    def __init__(self, signals: StopSignals, minutes: float):
        self.signals, self.seconds = signals, 60 * minutes
        self.saved = time.monotonic()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.saved = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        is_due = time.monotonic() - self.saved >= self.seconds
        number, is_due = _agree(self.signals.number, is_due, args.device)
        if number:
            self.signals.number = number
            control.should_training_stop = True
        if number or is_due:
            control.should_save = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.saved = time.monotonic()
        # it came during the save; several processes have to agree first, after another step
        if self.signals.number is not None and args.world_size == 1:
            control.should_training_stop = True


def _agree(number: int | None, is_due: bool, device: torch.device) -> tuple[int, bool]:
    """The same answer in each process of a training on several GPUs: the largest of theirs."""
    if not torch.distributed.is_initialized():
        return number or 0, is_due
    both = torch.tensor([number or 0, int(is_due)], device=device)
    torch.distributed.all_reduce(both, op=torch.distributed.ReduceOp.MAX)
    return int(both[0]), bool(both[1])


class Report(TrainerCallback):
    """A bar on a terminal; in a log a line every few seconds: steps, tokens per second, loss."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.tokens = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.is_world_process_zero:
            self.tokens = int(state.num_input_tokens_seen)
            self.progress = Progress(
                state.max_steps, "steps", every_s=LINE_EVERY_S, done=state.global_step
            )

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if self.progress is not None and logs is not None and "loss" in logs:
            seen = int(state.num_input_tokens_seen)
            self.progress.add(1, f"loss {logs['loss']:.4f}", tokens=seen - self.tokens)
            self.tokens = seen

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self.progress is not None:
            self.progress.close()
