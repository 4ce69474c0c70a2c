"""A worker process: stages come in on stdin, events go out on stdout, a JSON object a line.

    in    {"spec": {...}, "bulk": false}
    out   {"event": "started", "key"}
          {"event": "progress", "key", "fraction", "note"}
          {"event": "warning", "key", "message"}
          {"event": "done", "key", "seconds", "cpu_seconds", "peak_rss_bytes"}
          {"event": "failed" | "attempt_ended", "key", "error", "message", "again", ...}

It lives until stdin closes, its parent dies or it is told to stop (SIGTERM, SIGINT), and
pays for imports and the last loaded model once. Whatever libraries print goes to
``<logs>/<kind>-<key>.log``.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sweeper.redaction import log_to_stderr
from sweeper.store.store import Store
from sweeper.worker import fast_exit
from sweeper.worker.failure import explain
from sweeper.worker.metering import peak_rss_bytes
from sweeper.worker.runner import Bench, find_stage, name, run_stage

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
)
_PROGRESS_EVERY_S = 0.25
_LEAVE_S = 0.5  # an idle worker sees the end of its requests within this time
_PR_SET_PDEATHSIG = 1

Json = dict[str, Any]
log = logging.getLogger("sweeper.worker.process")  # also when it is __main__


def main(arguments: list[str] | None = None) -> None:
    """Serve stages until there are no more."""
    options = _options(arguments)
    fast_exit.at_once()
    fast_exit.with_status(1)
    limit_threads(options.threads)
    stop_cleanly()
    _die_with(options.parent)
    options.logs.mkdir(parents=True, exist_ok=True)
    emit, requests = _take_over_streams()
    log_to_stderr()
    bench = Bench(find=partial(find_stage, package=options.stages), device=options.device)
    warm(options.warm, bench, requests)
    serve(requests, emit, Store(options.home), bench, logs=options.logs, threads=options.threads)
    fast_exit.with_status(0)


def warm(kinds: list[str], bench: Bench, requests: Requests) -> None:
    """Import what stages to come will need, as long as there is nothing else to do."""
    for kind in kinds:
        if requests.has_come():
            return
        bench.find(kind)


def serve(
    requests: Iterable[Json],
    emit: Callable[[Json], None],
    store: Store,
    bench: Bench,
    *,
    logs: Path,
    threads: int,
) -> None:
    """Carry out one request after the other."""
    for request in requests:
        spec, started, cpu = request["spec"], time.monotonic(), time.process_time()
        emit({"event": "started", "key": spec["key"]})
        own = replace(bench, progress=_throttled(emit, spec["key"]))
        with (
            _output_to(logs / f"{spec['kind']}-{spec['key']}.log"),
            _warnings_to(emit, spec["key"]),
        ):
            log.info("%s %s: an attempt of process %d", *name(spec), os.getpid())
            _hold_threads(threads)
            ending = _attempt(request, store, own)
        cost = {
            "seconds": round(time.monotonic() - started, 3),
            "cpu_seconds": round(time.process_time() - cpu, 3),
            "peak_rss_bytes": peak_rss_bytes(),
        }
        emit({**ending, "key": spec["key"], **cost})


def _attempt(request: Json, store: Store, bench: Bench) -> Json:
    try:
        run_stage(request["spec"], store, bench, bulk=request.get("bulk", False))
    except Exception as error:
        log.exception("%s %s did not succeed", *name(request["spec"]))
        return explain(error, store.home).as_json()
    return {"event": "done"}


def limit_threads(threads: int) -> None:
    """Give every numeric library this many threads; must precede their import.

    Two spinning OpenMP teams on the same cores cost more than ten times the work.
    """
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _hold_threads(threads: int) -> None:
    """A library that a former stage used may have raised the number again."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def stop_cleanly() -> None:
    """Turn SIGTERM and SIGINT into SystemExit, so that unfinished directories are deleted."""

    def stop(number: int, _frame: object) -> None:
        for known in (signal.SIGTERM, signal.SIGINT):
            signal.signal(known, signal.SIG_IGN)
        fast_exit.with_status(128 + number)
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _die_with(parent: int | None) -> None:
    """Get SIGTERM when the parent process dies, however it dies (Linux; else stdin tells)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if parent is not None and os.getppid() != parent:
        raise SystemExit("the parent process is gone")


def _take_over_streams() -> tuple[Callable[[Json], None], Requests]:
    """Keep stdin and stdout for ourselves; a library that uses them gets neither."""
    requests, events = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    lock = threading.Lock()

    def emit(event: Json) -> None:
        line = json.dumps(event).encode() + b"\n"
        with lock:
            while line:
                line = line[os.write(events, line) :]

    return emit, Requests(requests)


class Requests:
    """Requests as they come. If stdin closes while a stage runs, that stage is stopped."""

    def __init__(self, stream: int) -> None:
        self._waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._left = threading.Event()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def __iter__(self) -> Iterator[Json]:
        """Until stdin closes."""
        while (line := self._waiting.get()) is not None:
            yield json.loads(line)
        self._left.set()

    def has_come(self) -> bool:
        """Whether a request, or the end of them, is waiting."""
        return not self._waiting.empty()

    def _read(self, stream: int) -> None:
        rest = b""
        while piece := os.read(stream, 1 << 16):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self._waiting.put(line)
        self._waiting.put(None)
        if not self._left.wait(_LEAVE_S):
            os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Append all that is printed, from C code too, to a file."""
    kept = os.dup(2)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        _point(file)
        yield
    finally:
        _point(kept)
        os.close(file)
        os.close(kept)


class _Forward(logging.Handler):
    """Turns Isorate's own warnings into events."""

    def __init__(self, emit: Callable[[Json], None], key: str) -> None:
        super().__init__(logging.WARNING)
        self._emit, self._key = emit, key

    def emit(self, record: logging.LogRecord) -> None:
        """Send one; part of `logging.Handler`."""
        if not record.exc_info:  # a traceback stays in the log: the ending tells of it
            self._emit({"event": "warning", "key": self._key, "message": record.getMessage()})


@contextmanager
def _warnings_to(emit: Callable[[Json], None], key: str) -> Iterator[None]:
    """What people must know (a damaged output, other bytes than recorded) is not only logged."""
    ours, forward = logging.getLogger("sweeper"), _Forward(emit, key)
    ours.addHandler(forward)
    try:
        yield
    finally:
        ours.removeHandler(forward)


def _point(target: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(target, 1)
    os.dup2(target, 2)


def _throttled(emit: Callable[[Json], None], key: str) -> Callable[..., None]:
    """Progress events at a rate that people can read."""
    last = 0.0

    def progress(fraction: float, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PROGRESS_EVERY_S:
            last = now
            emit({"event": "progress", "key": key, "fraction": fraction, "note": note})

    return progress


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sweeper.worker.process", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the home of the store")
    parser.add_argument("--logs", type=Path, required=True, help="directory of the stages' logs")
    parser.add_argument("--threads", type=int, default=1, help="threads of this process")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--stages", default="sweeper.stages", help="package of the stage modules")
    parser.add_argument("--warm", nargs="*", default=[], help="kinds of stages to import if idle")
    parser.add_argument("--parent", type=int, help="process to die with")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
