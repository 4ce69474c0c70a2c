"""The cluster of tests/slurm for a benchmark: root and Debian's SLURM packages are needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
CLUSTER = ROOT / "tests" / "slurm" / "cluster.sh"


def lacking() -> str:
    """Why there can be no cluster here; "" if there can."""
    if os.geteuid() == 0 and shutil.which("sbatch") is not None:
        return ""
    return "it needs root and SLURM (tests/slurm/cluster.sh install)"


@contextmanager
def cluster(*paths: Path, **knobs: str) -> Iterator[Path]:
    """A running cluster, and a directory that is gone afterwards.

    Args:
        paths: where jobs find their code, beside this checkout.
        knobs: of cluster.sh: ``nodes="1"`` is SLURM_LAB_NODES=1.
    """
    with tempfile.TemporaryDirectory(prefix="isl-", dir="/tmp") as name:
        state = Path(name) / "lab"
        os.environ |= {f"SLURM_LAB_{knob.upper()}": value for knob, value in knobs.items()}
        os.environ |= {
            "SLURM_CONF": str(state / "slurm.conf"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *paths))),
        }
        _script("up", state)
        try:
            yield Path(name)
        finally:
            _script("down", state)


def _script(verb: str, state: Path) -> None:
    command = ["bash", str(CLUSTER), verb, str(state)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
