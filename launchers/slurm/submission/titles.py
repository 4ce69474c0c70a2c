"""What jobs are called, so that squeue, which shows eight letters, tells sweep and cell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launchers.slurm.submission.packing import Unit
from sweeper.store.store import Spec

_ODD = re.compile(r"[^A-Za-z0-9.,:+_-]+")
_LONGEST = 60


@dataclass(frozen=True)
class Titles:
    """Names for the jobs of one submission.

    Attributes:
        head: the sweep, or the launcher's ``name``.
        specs: all stages by key.
    """

    head: str
    specs: Mapping[str, Spec]

    def __call__(self, units: Sequence[Unit]) -> str:
        """The sweep, and the cell of the first of these jobs (+ how many other jobs).

        The sweep alone for jobs that have no stages of their own.
        """
        if not units or not units[0].keys:
            return self.head
        spec = self.specs[units[0].keys[-1]]
        cell = _ODD.sub("", str(spec.get("label") or spec["kind"]))[:_LONGEST]
        more = f"+{len(units) - 1}" if len(units) > 1 else ""
        return f"{self.head}:{cell}{more}"
