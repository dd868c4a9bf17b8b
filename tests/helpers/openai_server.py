"""A scripted OpenAI-compatible server on 127.0.0.1, in a thread, that can be killed and started again on its port."""

import contextlib
import hashlib
import json
import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HANG, RESET = "hang", "reset"
# seconds after which a test that waits for nothing fails; no working test comes near it
GUARD_S = 120.0


def answer(body: dict, text: str | None = None, reason: str = "stop", **message) -> dict:
    """A sane answer whose text is a hash of the question."""
    question = json.dumps(body, sort_keys=True)
    text = f"answer {hashlib.sha256(question.encode()).hexdigest()[:8]}" if text is None else text
    choice = {"index": 0, "finish_reason": reason}
    choice |= (
        {"message": {"role": "assistant", "content": text, **message}}
        if "messages" in body
        else {"text": text}
    )
    return {
        "choices": [choice],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
    }


class ScriptedServer:
    """``script(body, attempt)`` returns HANG, RESET, bytes, an answer's dict, or (status, headers, bytes or dict)."""

    def __init__(self):
        self.script = lambda body, attempt: answer(body)
        self.bodies: list[dict] = []
        self.headers: list[dict] = []
        self.attempts: Counter[str] = Counter()
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()
        self.sockets: set[socket.socket] = set()
        self.port = 0
        self.released = threading.Event()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        handler = type("Handler", (_Handler,), {"server_state": self})
        self.http = _Listener(("127.0.0.1", self.port), handler)
        self.port = self.http.server_address[1]
        threading.Thread(
            target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def kill(self) -> None:
        """No answer to what is under way, no connection any more."""
        self.http.shutdown()
        self.http.server_close()
        with self.lock:
            sockets = list(self.sockets)
        for connection in sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.released.set()
        self.kill()


class _Listener(ThreadingHTTPServer):
    # connections that wait to be accepted; the library's 5 would refuse some of a burst
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # head and body are two packets; the second would wait 40 ms for the first one to be confirmed
    disable_nagle_algorithm = True
    server_state: ScriptedServer

    def setup(self):
        super().setup()
        with self.server_state.lock:
            self.server_state.sockets.add(self.connection)

    def finish(self):
        with self.server_state.lock:
            self.server_state.sockets.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *args):
        pass

    def do_POST(self):
        state = self.server_state
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with state.lock:
            state.bodies.append({"path": self.path, **body})
            state.headers.append(dict(self.headers))
            question = json.dumps(body, sort_keys=True)
            attempt = state.attempts[question]
            state.attempts[question] += 1
            state.busy += 1
            state.most_busy = max(state.most_busy, state.busy)
        try:
            said = state.script(body, attempt)
        finally:
            with state.lock:
                state.busy -= 1
        with contextlib.suppress(OSError):
            self._say(said)

    def _say(self, said):
        if said == HANG:
            self.server_state.released.wait(2 * GUARD_S)
            return
        if said == RESET:
            # a zero linger makes close() send a reset
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.close_connection = True
            self.connection.close()
            return
        status, headers, content = said if isinstance(said, tuple) else (200, {}, said)
        content = json.dumps(content).encode() if isinstance(content, dict | list) else content
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": len(content),
            **headers,
        }.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content)


def slowly(seconds: float):
    """A script that takes its time."""

    def script(body, attempt):
        time.sleep(seconds)
        return answer(body)

    return script


def together(n: int):
    """A script that answers whenever n requests are under way, however long they take to come."""
    barrier = threading.Barrier(n)

    def script(body, attempt):
        barrier.wait(GUARD_S)
        # those that come beyond n are seen meanwhile
        time.sleep(0.05)
        return answer(body)

    return script
