"""Where the sources of the peers' test suites are: named, beside the checkout, or fetched.

Input: an environment variable for each peer, or the network. Output: a folder that holds the peer's
`tests`, or the reason why there is none. No text of a peer is kept in this repository.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
# in pytest's cache, so that what is fetched once serves the tests and the script
CACHE = ROOT / ".pytest_cache" / "d" / "peers"
LIMIT_S = 60.0


@dataclass(frozen=True)
class Peer:
    """A peer: address, pinned commit, folder of the tests, the variable that names a checkout."""

    address: str
    commit: str
    tests: str
    variable: str


PEERS = {
    "math_verify": Peer(
        "https://github.com/huggingface/Math-Verify.git",
        "5d148cfaaf99214c2e4ffb4bc497ab042c592a7a",
        "tests",
        "ORION_MATH_VERIFY_SOURCE",
    ),
    "inspect_ai": Peer(
        "https://github.com/UKGovernmentBEIS/inspect_ai.git",
        "499e6152e7b8fc8cbd8ac5283536572aa6e4ab17",
        "tests/scorer",
        "ORION_INSPECT_AI_SOURCE",
    ),
}


class NoSourceError(Exception):
    """The source of a peer could not be had; the message says why."""


def local_source(name: str, cache: Path = CACHE) -> Path | None:
    """The folder that the peer's variable names, else one beside the checkout or in the cache.

    Raises ValueError if the variable names a folder without the peer's tests.
    """
    peer = PEERS[name]
    named = os.environ.get(peer.variable)
    if named:
        if not (Path(named) / peer.tests).is_dir():
            raise ValueError(f"{peer.variable}: no folder {peer.tests} in {named}")
        return Path(named)
    places = (ROOT.parent / "shared" / "peers" / name, cache / f"{name}-{peer.commit[:12]}")
    return next((place for place in places if (place / peer.tests).is_dir()), None)


def fetch_source(name: str, cache: Path = CACHE, limit_s: float = LIMIT_S) -> Path:
    """The tests at the pinned commit, fetched into the cache.

    Raises NoSourceError if git is missing, fails or takes longer than the limit.
    """
    peer = PEERS[name]
    folder = cache / f"{name}-{peer.commit[:12]}"
    part = folder.with_name(f"{folder.name}.part{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    commands = (
        "git init --quiet",
        f"git remote add origin {shlex.quote(peer.address)}",
        # without the blobs: inspect_ai has hundreds of megabytes beside its tests
        f"git fetch --quiet --depth 1 --filter=blob:none origin {peer.commit}",
        f"git sparse-checkout set --no-cone /{peer.tests}/",
        "git checkout --quiet FETCH_HEAD",
    )
    try:
        said = _run("\n".join(commands), part, limit_s)
        if said is not None:
            raise NoSourceError(f"{peer.address}: {said}")
        if not folder.is_dir():
            part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _run(commands: str, folder: Path, limit_s: float) -> str | None:
    """Run shell commands; None if all succeed, else what went wrong. git's children end with it."""
    process = subprocess.Popen(
        ["sh", "-ec", commands],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
    )
    try:
        _, errors = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return f"not fetched within {limit_s:g} s"
    lines = errors.strip().splitlines() or [f"exit status {process.returncode}"]
    return lines[-1] if process.returncode else None
