"""A real MLflow server on this machine that can be killed, and a way to it on which things break.

The server is MLflow's own application, in a process group of its own: by the command
`mlflow server`, or forked from here after the imports, so that it starts in a moment.
"""

from __future__ import annotations

import http.client
import http.server
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
STARTS_S = 600.0
Hook = Callable[[int], "int | None"]
"""Told the number of a request (from 1); a status is answered in place of the server's."""


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Server:
    """MLflow's server on 127.0.0.1 with SQLite and files below ``place``.

    Attributes:
        database: its SQLite file.
        artifacts: its files.
    """

    def __init__(self, place: Path, *, command: bool = False) -> None:
        self.database, self.artifacts = place / "server.db", place / "files"
        self.port, self._command = free_port(), command
        self._process: BaseProcess | subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers (the first time it makes its tables)."""
        self._process = self._by_command() if self._command else self._forked()
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill -9 it with all its children."""
        if self._process is None:
            return
        assert self._process.pid is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        wait = self._process.join if isinstance(self._process, BaseProcess) else self._process.wait
        wait()
        self._process = None

    def _wait(self) -> None:
        patience = time.monotonic() + STARTS_S
        while not self._answers():
            assert self._alive(), "the MLflow server ended by itself"
            assert time.monotonic() < patience, "the MLflow server does not answer"
            time.sleep(0.02)

    def _options(self) -> dict[str, str]:
        return {"uri": f"sqlite:///{self.database}", "files": self.artifacts.as_uri()}

    def _by_command(self) -> subprocess.Popen[bytes]:
        where = self._options()
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--workers",
            "1",
            "--backend-store-uri",
            where["uri"],
            "--artifacts-destination",
            where["files"],
        ]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(
            command, env=os.environ | QUIET, stdout=quiet, stderr=quiet, start_new_session=True
        )

    def _forked(self) -> BaseProcess:
        import mlflow.server.fastapi_app  # noqa: F401 - imported once, here

        fork = multiprocessing.get_context("fork")
        process = fork.Process(target=_serve, args=[self.port, self._options()], daemon=True)
        process.start()
        return process

    def _alive(self) -> bool:
        if isinstance(self._process, BaseProcess):
            return self._process.is_alive()
        return self._process is not None and self._process.poll() is None

    def _answers(self) -> bool:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as asked:
            try:
                asked.request("GET", "/api/2.0/mlflow/experiments/search?max_results=1")
                return asked.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                return False


def _serve(port: int, where: dict[str, str]) -> None:
    """What `mlflow server` starts, with what it puts into the environment."""
    import uvicorn
    from mlflow import server
    from mlflow.server.fastapi_app import app

    os.setsid()
    os.environ |= QUIET | {
        server.BACKEND_STORE_URI_ENV_VAR: where["uri"],
        server.ARTIFACTS_DESTINATION_ENV_VAR: where["files"],
        server.ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
        server.SERVE_ARTIFACTS_ENV_VAR: "true",
    }
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="critical")


class Way:
    """The way to a server: every request is counted, and may meet with something.

    Attributes:
        uri: where it begins.
        before, after: called before a request is passed on, and before its answer is; either
            may wait, kill, raise `ConnectionAbortedError` (nothing is answered) or answer itself.
        requests: method and path of what came by.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.before: Hook = lambda _: None
        self.after: Hook = lambda _: None
        self.requests: list[str] = []
        self._under_way = 0
        self._lock = threading.Condition()
        self.uri = ""

    def calm(self) -> None:
        """Nothing breaks from now on; returns when all that was under way is over."""
        self.before = self.after = lambda _: None
        with self._lock:
            assert self._lock.wait_for(lambda: self._under_way == 0, 60)
            self.requests = []

    @contextmanager
    def open(self) -> Iterator[Way]:
        """Listen."""
        way = self

        class Passing(http.server.BaseHTTPRequestHandler):
            def _pass(self) -> None:
                way.carry(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass

            def log_message(self, *_: Any) -> None:
                """Keep quiet."""

        listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Passing)
        thread = threading.Thread(target=listening.serve_forever, args=[0.05])
        thread.start()
        self.uri = f"http://127.0.0.1:{listening.server_port}"
        try:
            yield self
        finally:
            listening.shutdown()
            thread.join()
            listening.server_close()

    def carry(self, asked: http.server.BaseHTTPRequestHandler) -> None:
        """One request to the server and back; whatever breaks, the connection is closed."""
        body = asked.rfile.read(int(asked.headers.get("Content-Length", 0)))
        with self._lock:
            self._under_way += 1
            self.requests.append(f"{asked.command} {asked.path}")
            number = len(self.requests)
        try:
            with suppress(OSError, http.client.HTTPException):
                self._answer(asked, number, body)
        finally:
            asked.close_connection = True
            with self._lock:
                self._under_way -= 1
                self._lock.notify_all()

    def _answer(self, asked: http.server.BaseHTTPRequestHandler, number: int, body: bytes) -> None:
        status, headers, content = self.before(number), {}, b"{}"
        if status is None:
            status, headers, content = self._passed_on(asked, body)
            status = self.after(number) or status
        asked.send_response(status)
        for name, value in headers.items():
            asked.send_header(name, value)
        asked.send_header("Content-Length", str(len(content)))
        asked.end_headers()
        asked.wfile.write(content)

    def _passed_on(
        self, asked: http.server.BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        port = self.server.port
        headers = {k: v for k, v in asked.headers.items() if k.lower() != "connection"}
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as there:
            there.request(asked.command, asked.path, body, headers)
            answer = there.getresponse()
            content = answer.read()
        left = ("connection", "content-length", "transfer-encoding", "date", "server")
        kept = {k: v for k, v in answer.getheaders() if k.lower() not in left}
        return answer.status, kept, content
