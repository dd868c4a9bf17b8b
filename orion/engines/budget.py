"""The token budget of a stage, kept on disk: one budget, however often and by how many it is tried.

Input: counts of tokens. Output: their sum over all tries and shards. Each process has a file of its
own in the budget's folder, so nothing is locked, and a process that is killed leaves its count. The
stage removes the folder when it has all of its completions.
"""

import os
import secrets
import shutil
from pathlib import Path

from orion.progress import log
from orion.provenance import digest_text

FOLDER = "budgets"
DIGITS = 20  # of a count on disk, so that a new count overwrites the old one whole


def budget_folder(store: str | Path, output: str | Path) -> Path:
    """Where the counts of the stage that writes ``output`` are, beside its completions."""
    return Path(store) / FOLDER / digest_text(Path(output).as_posix())[:16]


class TokenBudget:
    """Tokens used, and how many may be: ``limit``, None for no limit.

    ``folder``: where the counts of all tries are; None counts this process only.
    """

    def __init__(self, limit: int | None, folder: Path | None = None):
        self.limit = limit
        # without a limit nothing is read from the disk, and nothing needs to be there
        self.folder = None if limit is None else folder
        self.used_here = 0
        self._file: Path | None = None
        self._failed = False

    @property
    def used_before(self) -> int:
        """Tokens that other processes have used: earlier tries, and shards that run now."""
        if self.folder is None:
            return 0
        return sum(_read_count(path) for path in self.folder.glob("*.tokens") if path != self._file)

    @property
    def total(self) -> int:
        """Tokens used by all tries and shards."""
        return self.used_here + self.used_before

    @property
    def is_spent(self) -> bool:
        """Whether no further request may be sent."""
        return self.limit is not None and self.total >= self.limit

    def add(self, tokens: int) -> None:
        """Count tokens and write the count."""
        self.used_here += tokens
        if self.folder is None:
            return
        self._file = self._file or self.folder / f"{secrets.token_hex(8)}.tokens"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.pwrite(descriptor, b"%0*d" % (DIGITS, self.used_here), 0)
            finally:
                os.close(descriptor)
        except OSError as error:
            # a full disk: the count is in memory, and the next one is written whole
            if not self._failed:
                log(f"openai: {self.folder}: the tokens used cannot be written ({error})")
            self._failed = True


def _read_count(path: Path) -> int:
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return 0
    return int(text) if text.isdecimal() else 0


def remove_budget(folder: Path) -> None:
    """Forget the counts of a stage that has all of its completions."""
    shutil.rmtree(folder, ignore_errors=True)
