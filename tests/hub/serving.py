"""The loopback hub as a process that a test stops, and the environment that asks it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "ISORATE_TEST_HUB"
"""Names the directory with the real data and the server, ``serve.py ROOT PORT LOG``."""


@dataclass
class Served:
    """A running hub.

    Attributes:
        root: what it serves; files may be added while it runs, but not changed.
        log: one line a request.
    """

    root: Path
    port: int
    log: Path
    process: subprocess.Popen[bytes]

    def environment(self, cache: Path) -> dict[str, str]:
        """Ours, asking this hub, with a cache of its own and no token."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        return kept | {
            "HF_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "HF_HOME": str(cache),
            "HF_HUB_DISABLE_XET": "1",
        }

    def stop(self) -> None:
        """End it; what is asked from now on is refused."""
        self.process.terminate()
        self.process.wait()


@contextmanager
def served(root: Path, log: Path) -> Iterator[Served]:
    """Serve ``root`` until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = Path(os.environ[VARIABLE]) / "serve.py"
    command = [sys.executable, str(script), str(root), str(port), str(log)]
    hub = Served(root=root, port=port, log=log, process=subprocess.Popen(command))
    try:
        _wait(port)
        yield hub
    finally:
        hub.stop()


def _wait(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError("the hub does not answer")
