"""The boundary to SLURM's commands: the only place that starts them, with patience."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sweeper.errors import IsorateError

T = TypeVar("T")

_TRANSIENT = re.compile(
    r"unable to contact|connection refused|connect failure|socket timed out|"
    r"temporarily unable|communication connection failure|zero bytes were transmitted|"
    r"controller not responding|timed out after|unexpected missing socket error|"
    r"connection reset by peer|broken pipe|unexpected message received",
    re.IGNORECASE,
)
_OF_A_JOB = ("SLURM_", "SBATCH_", "SRUN_", "SLURMD_", "SUBMITIT_")
_KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SUBMITIT_PREEMPT_SIGNAL")


_ADDRESS: dict[str, str] = {}


class SlurmError(IsorateError):
    """A SLURM command is missing, refused, or got no answer."""

    @property
    def transient(self) -> bool:
        """Whether the controller may just be away for a while."""
        return is_transient(str(self))


def speak_to(clusters: str) -> None:
    """Make all commands of this process speak to one cluster of several."""
    _ADDRESS["SLURM_CLUSTERS"] = clusters


def is_transient(message: str) -> bool:
    """Whether a command failed because it could not reach a daemon."""
    return bool(_TRANSIENT.search(message))


def run(*command: str, timeout_s: float = 60.0, given: str | None = None) -> str:
    """Standard output of one SLURM command, which may read what is ``given``.

    Raises:
        SlurmError: it is not installed, took too long, or ended with an error.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=outside_env(),
            input=given,
        )
    except FileNotFoundError:
        raise SlurmError(f"{command[0]} is not installed here (is this a login node?)") from None
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{command[0]} timed out after {timeout_s:g} s") from None
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}"
        raise SlurmError(f"{command[0]}: {said}")
    return done.stdout


def patiently(
    act: Callable[[], T],
    patience_s: float,
    say: Callable[[str], None],
    *,
    between: Callable[[], object] = lambda: None,
    pause_s: float = 2.0,
) -> T:
    """Do something that needs the controller, again and again while that is away.

    Args:
        act: raises `SlurmError`.
        patience_s: how long to go on.
        say: told once that we wait.
        between: before each further try (to undo what may have got through).
        pause_s: seconds between tries.

    Raises:
        SlurmError: the last one.
    """
    until = time.monotonic() + patience_s
    for tries in range(1_000_000):
        try:
            if tries:
                between()
            return act()
        except SlurmError as error:
            if not error.transient or time.monotonic() > until:
                raise
            if not tries:
                say(f"waiting up to {patience_s:g} s for the SLURM controller ({error})")
        time.sleep(pause_s)
    raise AssertionError("unreachable")


def outside_env() -> dict[str, str]:
    """The environment without what SLURM sets inside a job.

    Inherited, it would turn into options of sbatch and srun: a job that is submitted from
    a job would ask for its parent's memory, say. SLURM_CONF stays: it names the cluster.
    """
    kept = {k: v for k, v in os.environ.items() if k in _KEPT or not k.startswith(_OF_A_JOB)}
    return kept | {"SLURM_BITSTR_LEN": "0"} | _ADDRESS


@contextmanager
def outside_of_jobs() -> Iterator[None]:
    """Make `outside_env` this process's environment for a while."""
    before = dict(os.environ)
    inside = outside_env()
    for name in set(before) - set(inside):
        del os.environ[name]
    os.environ.update(inside)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
