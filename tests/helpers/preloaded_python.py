"""Runs ``python -m MODULE`` in forks of one process that has the libraries loaded already.

Importing torch and transformers takes a job of Snakemake several seconds, its own work in a test a
fraction of one. ``Preloaded`` starts the process and writes a command ``python`` that asks it for a
fork: same arguments, folder, environment and standard streams, same exit status. A fork has nothing
of this project loaded unless ``modules`` names it. What libraries read from the environment as they
load, such as OMP_NUM_THREADS, they have from the tests' own.
"""

import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path

# Without site-packages it starts in 15 ms. Whatever ends without a status has been killed.
CLIENT = """#!{python} -IS
import json, os, socket, sys
request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(request)
    status = b"".join(iter(lambda: server.recv(1), b""))
sys.exit(status[0] if status else 137)
"""


class Preloaded:
    """The process, and the folder for PATH that has its ``python``.

    ``folder``: a new one with a short path, since a socket's has at most 107 characters.
    """

    def __init__(self, folder: Path, *modules: str):
        address = str(folder / "socket")
        self.bin = folder / "bin"
        self.bin.mkdir()
        command = self.bin / "python"
        command.write_text(CLIENT.format(python=sys.executable, address=address))
        command.chmod(0o755)
        self.process = subprocess.Popen(
            [sys.executable, __file__, address, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout.readline() == b"ready\n"

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def run(arguments: list[str], folder: str, env: dict[str, str], paths: list[str]) -> int:
    """What ``python ARGUMENTS`` does in this process; the exit status."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:] = [folder, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep)), *paths]
    sys.dont_write_bytecode = bool(env.get("PYTHONDONTWRITEBYTECODE"))
    assert arguments[0] == "-m", arguments
    sys.argv = arguments[1:]
    try:
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def serve(address: str, modules: list[str]) -> None:
    """Answer until standard input ends; returns in each fork, with nothing left to do."""
    # the folder of this file, whose modules have names that libraries have too
    del sys.path[0]
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [path for path in sys.path if path not in given]
    for module in modules:
        __import__(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen(64)
        print("ready", flush=True)
        while True:
            if 0 in select.select([server, 0], [], [])[0]:
                return
            connection, _ = server.accept()
            if os.fork() == 0:
                break
            connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, streams, _, _ = socket.recv_fds(connection, 8, 3)
    request = json.loads(receive(connection, int.from_bytes(size, "big")))
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    status = run(*request, paths)
    sys.stdout.flush()
    sys.stderr.flush()
    connection.sendall(bytes([status]))
    # left open, so that the client waits for the end of this process and what runs at exit
    connection.detach()


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2:])
