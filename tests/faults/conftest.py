"""Where faults are tried, and the account of them at the end of the run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import tally


@pytest.fixture
def home() -> Iterator[Path]:
    """A home in memory where there is such a file system: thousands of flushes cost nothing."""
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place, prefix="isorate-faults-") as directory:
        yield Path(directory) / "home"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was survived."""
    if not tally.total():
        return
    failed = len(terminalreporter.stats.get("failed", []))
    terminalreporter.section("faults")
    for line in tally.lines():
        terminalreporter.write_line(line)
    lost = "0" if not failed else f"see the {failed} failed tests"
    terminalreporter.write_line(
        f"{tally.total()} faults tried and survived, finished work lost: {lost}"
    )
