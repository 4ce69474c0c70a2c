"""What a user's shell says to sbatch: SBATCH_ACCOUNT and its like, where no configuration does.

submitit writes options into a script, which such variables would override; so they are taken
out of the environment of sbatch, and into the configuration, which is recorded and passed on
by rounds. Inside a job they are those of that job, and mean nothing for the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

_OPTIONS = {
    "SBATCH_ACCOUNT": "account",
    "SBATCH_PARTITION": "partition",
    "SBATCH_QOS": "qos",
    "SBATCH_RESERVATION": "reservation",
    "SBATCH_CONSTRAINT": "constraint",
    "SLURM_CLUSTERS": "clusters",
    "SBATCH_CLUSTERS": "clusters",
}
_FURTHER = {"SBATCH_WCKEY": "wckey"}
"""Those for which this launcher has no key: options of sbatch."""
_HARMLESS = {"SBATCH_EXPORT", "SBATCH_DEBUG"}

log = logging.getLogger(__name__)


def with_environment(given: Mapping[str, Any], env: Mapping[str, str]) -> dict[str, Any]:
    """A launcher's options, and what the environment says where they say nothing.

    Args:
        given: the options.
        env: of this process; inside a job nothing of it counts.
    """
    options = dict(given)
    if "SLURM_JOB_ID" in env:
        return options
    for variable, key in _OPTIONS.items():
        if env.get(variable) and options.get(key) is None:
            options[key] = env[variable]
    further = dict(options.get("additional_parameters") or {})
    for variable, key in _FURTHER.items():
        if env.get(variable):
            further.setdefault(key, env[variable])
    if further:
        options["additional_parameters"] = further
    for variable in sorted(set(env) - {*_OPTIONS, *_FURTHER, *_HARMLESS}):
        if variable.startswith("SBATCH_"):
            log.warning(
                "%s of this shell is not passed on: say it in hydra.launcher, or in its "
                "additional_parameters",
                variable,
            )
    return options
