"""Where faults are tried, and the account of them at the end of the run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import tally


@pytest.fixture
def home() -> Iterator[Path]:
    """A home in memory where there is such a file system: thousands of flushes cost nothing."""
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place, prefix="isorate-faults-") as directory:
        yield Path(directory) / "home"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process of `pytest -n` hands its account to the one that prints."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["faults"] = tally.account()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Add what one of its processes tried."""
    for fault, count in getattr(node, "workeroutput", {}).get("faults", {}).items():
        tally.survived(fault, count)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was survived."""
    if not tally.total():
        return
    failed = sum(len(terminalreporter.stats.get(how, [])) for how in ("failed", "error"))
    terminalreporter.section("faults")
    for line in tally.lines():
        terminalreporter.write_line(line)
    lost = "0" if not failed else f"see the {failed} failed tests"
    terminalreporter.write_line(
        f"{tally.total()} faults tried and survived, finished work lost: {lost}"
    )
