"""One command of the command line in a process of its own, and its answer."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from typing import IO, Any

from isorate.pinning import program, search_path

_BAD_INPUT, _INTERRUPTED = 2, 130
_SAID = re.compile("^isorate: ", re.MULTILINE)
_TOLD = 40
"""Lines of what a command said that its error repeats."""
_GRACE_S = 5.0
"""Ctrl-C reaches the command by itself in a terminal and in Jupyter; else it is passed on."""


class CommandFailed(RuntimeError):
    """A command ended without an answer; the message is what it said."""


class Refused(ValueError):
    """Bad input, before anything was started: the key, the value, what is valid, what to do."""


def answer(verb: str, words: Sequence[str], *, live: bool = False) -> dict[str, Any]:
    """The JSON document that a command answers with; what else it says goes to sys.stderr.

    Args:
        verb: of the command line.
        words: its arguments.
        live: it takes long, so what it says is passed on as it is said.

    Raises:
        Refused: bad input.
        CommandFailed: there is no answer.
        KeyboardInterrupt: it was interrupted; nothing that is done is lost.
    """
    child = subprocess.Popen(
        [*program("sweeper"), verb, *words, "output=json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": search_path()},
    )
    assert child.stdout is not None
    assert child.stderr is not None
    said: deque[str] = deque(maxlen=_TOLD)
    teller = threading.Thread(target=_pass_on, args=(child.stderr, said, live), daemon=True)
    teller.start()
    try:
        text = child.stdout.read()
        status = child.wait()
    except KeyboardInterrupt:
        _stop(child)
        raise
    teller.join()
    if status == _INTERRUPTED:
        raise KeyboardInterrupt
    told = "".join(said).strip()
    if status == _BAD_INPUT:
        raise Refused(_SAID.split(told)[-1])
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError:
        raise CommandFailed(f"isorate {verb} ended with status {status}:\n{told}") from None
    if told and not live:
        print(told, file=sys.stderr)
    return found


def _pass_on(stream: IO[str], said: deque[str], live: bool) -> None:
    for line in stream:
        said.append(line)
        if live:
            print(line, end="", file=sys.stderr, flush=True)


def _stop(child: subprocess.Popen[str]) -> None:
    try:
        child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGINT)
        child.wait()
