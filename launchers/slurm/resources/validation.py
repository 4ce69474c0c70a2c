"""Names and values of what a SLURM job asks for, checked before anything is submitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from launchers.slurm.resources import script
from launchers.slurm.resources.resources import Resources, gibibytes
from sweeper.errors import BadInput, one_of

_NAMES = [*(f.name for f in fields(Resources)), "gpus_per_task"]
_ELSEWHERE = {
    "nodes": "a job runs on one node.",
    "tasks_per_node": "a job is one process.",
    "submitit_folder": "it is <home>/sweeps/<name>/jobs.",
    "stderr_to_stdout": "each stage has one log for both.",
}
"""Keys of hydra-submitit-launcher that have no meaning here, and why."""
_LEAST = {
    "timeout_min": 1,
    "cpus_per_task": 1,
    "cpus_per_gpu": 1,
    "gpus_per_node": 0,
    "gpus_per_task": 0,
    "signal_delay_s": 0,
}


def check(key: str, given: Mapping[str, Any]) -> None:
    """Refuse names that are none, values of the wrong type, and what no batch script may hold.

    Args:
        key: where they are given ("hydra.launcher.kinds.prune").
        given: name -> value; None stands for "not given".

    Raises:
        BadInput: naming the key.
    """
    for name, value in given.items():
        if name in _ELSEWHERE:
            raise BadInput(f"{key}.{name}", value, f"no such key: {_ELSEWHERE[name]}")
        if name not in _NAMES:
            raise BadInput(f"{key}.{name}", value, f"no such key; {one_of(_NAMES)}.")
        fits, valid = _test(name)
        if value is not None and not fits(value):
            raise BadInput(f"{key}.{name}", value, f"valid: {valid}.")
    script.check(key, given)


def _test(name: str) -> tuple[Callable[[Any], bool], str]:
    """What a value has to be, and that in words."""
    if name in _LEAST:
        least = _LEAST[name]
        return lambda value: _whole(value) and value >= least, f"a whole number, {least} or more"
    if name == "mem_gb":
        return lambda value: _number(value) and value > 0, "a number of GiB"
    if name in ("mem_per_cpu", "mem_per_gpu"):
        return _is_size, "an amount of memory, as 4GB or 4000M"
    if name in ("setup", "srun_args"):
        return lambda value: isinstance(value, list | tuple), "a list"
    if name == "additional_parameters":
        return lambda value: isinstance(value, Mapping), "options of sbatch and their values"
    if name == "use_srun":
        return lambda value: isinstance(value, bool), "true, false"
    return lambda value: isinstance(value, str) or _number(value), "a word"


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return _whole(value) or isinstance(value, float)


def _is_size(value: Any) -> bool:
    try:
        return gibibytes(str(value)) > 0
    except ValueError:
        return False
