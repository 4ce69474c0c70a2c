"""One worker process as its launcher sees it: start, send, read events, stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isorate.pinning import program, search_path
from launchers.schedule import Task
from sweeper.modeling import kernels
from sweeper.worker.process import THREAD_VARIABLES

Event = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Command:
    """How workers are started.

    Attributes:
        home: of the store.
        logs: directory for the stages' logs and the workers' own.
        threads: of each worker.
        stages: package of the stage modules.
        warm: kinds of stages to come, which an idle worker imports ahead.
        portable: whether they have portable kernels, see `sweeper.modeling.kernels`.
    """

    home: Path
    logs: Path
    threads: int
    stages: str
    warm: tuple[str, ...] = ()
    portable: bool = False

    def arguments(self, device: str) -> list[str]:
        """The command line."""
        named = {
            "--home": self.home,
            "--logs": self.logs,
            "--threads": self.threads,
            "--device": device,
            "--stages": self.stages,
            "--parent": os.getpid(),
        }
        options = [str(part) for pair in named.items() for part in pair]
        return [*program("sweeper.worker.process"), *options, "--warm", *self.warm]


class WorkerProcess:
    """A running worker. Ctrl-C does not reach it: it has a session of its own."""

    def __init__(self, command: Command, number: int, gpu: str | None) -> None:
        """Start it; its stderr goes to ``worker-<number>.log``."""
        with (command.logs / f"worker-{number}.log").open("ab") as log:
            self._process = subprocess.Popen(
                command.arguments("cpu" if gpu is None else "cuda"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                env=_environment(command, gpu),
                start_new_session=True,
            )
        self._rest = b""

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def fileno(self) -> int:
        """Of its event stream, for `selectors`."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def send(self, task: Task) -> bool:
        """Give it a stage; False if it is dead (its event stream will tell too)."""
        assert self._process.stdin is not None
        line = memoryview(json.dumps({"spec": task.spec, "bulk": task.bulk}).encode() + b"\n")
        try:
            while line:
                line = line[self._process.stdin.write(line) :]
        except BrokenPipeError:
            return False
        return True

    def read(self) -> list[Event] | None:
        """The events that have come; None when it is dead. Call when `fileno` is readable."""
        piece = os.read(self.fileno(), 1 << 16)
        if not piece:
            return None
        *lines, self._rest = (self._rest + piece).split(b"\n")
        return [json.loads(line) for line in lines]

    def dismiss(self) -> None:
        """No more stages will come: an idle worker leaves by itself."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def interrupt(self) -> None:
        """Make it drop what it does, delete its unfinished files and leave."""
        self._process.terminate()

    def wait(self, seconds: float) -> int | None:
        """Its exit status (minus the signal that killed it), or None if it still runs."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End it and all that it has started, now."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self._process.wait()

    def close(self) -> None:
        """Give back the pipes of a dead worker."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


def _environment(command: Command, gpu: str | None) -> Mapping[str, str]:
    """Ours, with the limits of one worker, and the code that we run ourselves found first."""
    limits = dict.fromkeys(THREAD_VARIABLES, str(command.threads))
    limits |= kernels.ENVIRONMENT if command.portable else {}
    device = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
    return {**os.environ, **limits, **device, "PYTHONPATH": search_path()}
