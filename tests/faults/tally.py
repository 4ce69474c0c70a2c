"""What the fault tests tried and what survived, printed at the end of the run."""

from __future__ import annotations

from collections import Counter

_SURVIVED: Counter[str] = Counter()


def survived(fault: str, count: int = 1) -> None:
    """One more fault after which everything held (a test that fails never gets here)."""
    _SURVIVED[fault] += count


def account() -> dict[str, int]:
    """Fault -> how often it was survived."""
    return dict(_SURVIVED)


def lines() -> list[str]:
    """The table, empty if no fault was tried."""
    return [f"{number:6d}  {fault}" for fault, number in sorted(_SURVIVED.items())]


def total() -> int:
    """How many faults there were."""
    return sum(_SURVIVED.values())
