"""Fetching by address and digest: resumed, cached, verified; against a server on this machine."""

import hashlib
import http.server
import json
import threading

import pytest

from orion.cli.main import main as orion
from orion.data import download
from orion.errors import InputError
from orion.stages import fetch

BODY = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(BODY).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends BODY; as ``server.script`` says, one answer after the other, then whole answers."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        answer = self.server.script.pop(0) if self.server.script else "whole"
        if isinstance(answer, int):
            self.send_response(answer)
            self.end_headers()
            return
        start = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
        start = 0 if answer == "ignores range" else start
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        end = start + 300_000 if answer == "breaks" else len(BODY)
        self.wfile.write(BODY[start:end])


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("ORION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "PAUSE_S", 0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.script, made.asked = [], []
    made.url = f"http://127.0.0.1:{made.server_port}/rows.jsonl"
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def get(server, output):
    download.fetch(server.url, DIGEST, output, pause_s=0)
    return output.read_bytes()


def test_a_file_is_fetched_once_and_then_taken_from_the_cache(server, tmp_path):
    output = tmp_path / "results" / "a.jsonl"
    fetch.main(
        [
            "--config",
            json.dumps({"sha256": DIGEST}),
            "--url",
            server.url,
            "--output",
            str(output),
        ]
    )
    assert output.read_bytes() == BODY and len(server.asked) == 1
    server.shutdown()
    assert get(server, tmp_path / "b.jsonl") == BODY


@pytest.mark.parametrize("rest", ["whole", "ignores range"])
def test_a_broken_transfer_goes_on_where_it_stopped(server, tmp_path, rest):
    server.script = ["breaks", 503, rest]
    assert get(server, tmp_path / "a") == BODY
    assert [asked for _, asked in server.asked] == [None, "bytes=300000-", "bytes=300000-"]


def test_what_a_stopped_run_has_got_is_kept_for_the_next(server, tmp_path):
    server.script = ["breaks", *[503] * 4]
    with pytest.raises(InputError, match=r"cannot be fetched \(status 503, tried 5 times\)"):
        get(server, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    assert get(server, tmp_path / "a") == BODY
    assert server.asked[-1][1] == "bytes=300000-"


def test_other_bytes_than_the_digest_says_are_not_published(server, tmp_path):
    with pytest.raises(InputError, match=f"have the sha256 {DIGEST}, not 0000"):
        download.fetch(server.url, "0" * 64, tmp_path / "a", pause_s=0)
    assert not (tmp_path / "a").exists()
    assert list(download.cache_folder().iterdir()) == []


def test_a_missing_file_is_not_asked_for_again(server, tmp_path):
    server.script = [404]
    with pytest.raises(InputError, match=r"the server answers 404; correct source\.url"):
        get(server, tmp_path / "a")
    assert len(server.asked) == 1


def test_a_damaged_cache_is_mended(server, tmp_path):
    get(server, tmp_path / "a")
    (download.cache_folder() / DIGEST).write_bytes(b"damage")
    assert get(server, tmp_path / "b") == BODY and len(server.asked) == 2


def test_files_that_are_kept_need_no_network(server, tmp_path, capsys):
    (tmp_path / "brought.jsonl").write_bytes(BODY)
    orion(["data", "keep", str(tmp_path / "brought.jsonl")])
    assert DIGEST in capsys.readouterr().out
    assert get(server, tmp_path / "a") == BODY and server.asked == []
