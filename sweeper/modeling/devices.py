"""How many GPUs a process may use, as its environment says; found without importing torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping

_NONE = ("-1", "NoDevFiles")


def gpus() -> int:
    """GPUs of this process: those of its worker, of its SLURM job, or of this machine.

    Whoever starts a stage decides it: a local worker sees one GPU, a SLURM job those it
    asked for. Stages that can use several (scoring a model that one cannot hold) read it here.
    """
    return len(gpu_ids(os.environ))


def gpu_ids(env: Mapping[str, str]) -> list[str]:
    """Ids of these GPUs, as CUDA_VISIBLE_DEVICES wants them.

    Args:
        env: the environment. CUDA_VISIBLE_DEVICES decides where it is set (SLURM sets it for
            the GPUs of a job); inside a SLURM job without it, SLURM's own count does, for a
            job that asked for none must not take those of its node; else nvidia-smi tells.
    """
    allowed = env.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return [part.strip() for part in allowed.split(",") if part.strip() not in ("", *_NONE)]
    if "SLURM_JOB_ID" in env:
        count = env.get("SLURM_GPUS_ON_NODE", "0")
        return [str(n) for n in range(int(count) if count.isdigit() else 0)]
    tool = shutil.which("nvidia-smi")
    return _listed(tool) if tool else []


def _listed(tool: str) -> list[str]:
    listed = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)
    count = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    return [str(n) for n in range(count)] if listed.returncode == 0 else []
