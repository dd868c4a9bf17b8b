"""What every stage's command line has in common: its parser, its log lines and how it ends on bad input.

A stage runs as ``python -m orion.<stage> --config JSON ...``; see each module.
"""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from orion.errors import InputError


def parser(module_doc: str | None, *names: str) -> argparse.ArgumentParser:
    """A parser with ``--config`` (the stage's keys as one JSON string) and one required option a name."""
    made = argparse.ArgumentParser(
        description=module_doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--config", required=True, type=json.loads, help="the stage's configuration keys as JSON"
    )
    for name in names:
        made.add_argument(f"--{name}", required=True, metavar="PATH")
    return made


def run(main: Callable[[], None]) -> None:
    """Run a stage's main; bad input prints its message without a traceback and exits with status 2."""
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


@contextmanager
def sigterm_is_an_exception() -> Iterator[None]:
    """Also a process that is told to end (scancel, a time limit) stores what is paid for, unless it minds the signal itself."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def stop(number, frame):
        # once: a second one must not interrupt the storing
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def log(message: str) -> None:
    """One plain line on standard error, flushed, so that it stands in a log at once."""
    print(message, file=sys.stderr, flush=True)
