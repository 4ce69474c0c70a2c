"""A gated model is refused before submission, by what a real server answers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

TOKEN = "hf_thisisnotatoken"


class Gated(BaseHTTPRequestHandler):
    """The hub's answer for a file of a gated repository."""

    seen: list[str]

    def do_HEAD(self) -> None:
        self.seen.append(self.headers.get("Authorization") or "")
        self.send_response(403 if self.headers.get("Authorization") else 401)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def hub() -> Iterator[tuple[str, list[str]]]:
    seen: list[str] = []
    handler = type("Handler", (Gated,), {"seen": seen})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("token", "words"), [("", "HF_TOKEN is unset"), (TOKEN, "no access")])
def test_it_is_said_before_submission(
    hub: tuple[str, list[str]], tmp_path: Path, token: str, words: str
) -> None:
    address, seen = hub
    env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env |= {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf")}
    env |= {"HF_TOKEN": token} if token else {}
    home = tmp_path / "home"
    command = [
        sys.executable,
        "-m",
        "sweeper",
        "run",
        f"home={home}",
        "model=llama-3.1-8b",
        "tasks=none",
        "prune=none",
        "quant=none",
    ]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "model.id=meta-llama/Llama-3.1-8B: gated" in done.stderr
    assert words in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert any(TOKEN in header for header in seen) == bool(token)
    assert not list(home.glob("sweeps/*/plan-*.json"))
