"""The process of a job: its exit status is what SLURM believes, and it does not linger."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LINGERS = """
import time
class Library:
    def __del__(self, sleep=time.sleep):
        sleep(60)
held = Library()
"""


@pytest.mark.parametrize(
    ("does", "status"),
    [("pass", 0), ("raise ValueError('no')", 1), ("raise SystemExit(-1)", 255)],
)
def test_a_job_leaves_at_once_with_its_status(tmp_path: Path, does: str, status: int) -> None:
    code = (
        f"from launchers.slurm.job import entrypoint\n{LINGERS}"
        f"def job():\n    print('said')\n    {does}\n"
        "entrypoint.submitit_main = job\n"
        "entrypoint.main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert ended.returncode == status
    assert ended.stdout == "said\n"


def test_a_job_does_not_pay_for_numpy_before_its_first_stage() -> None:
    code = (
        "import sys\nfrom launchers.slurm.job import entrypoint, pull_job\n"
        "print('numpy' in sys.modules)\nimport numpy\nprint(numpy.ones(2).sum())\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False", "2.0"]
