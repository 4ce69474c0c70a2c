"""What this machine has for workers: GPUs, cores, memory; found without importing torch."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psutil

from sweeper.modeling import devices


def gpus() -> list[str]:
    """Ids of the NVIDIA GPUs that we may use; none without their driver's own tool."""
    return devices.gpu_ids(os.environ) if shutil.which("nvidia-smi") else []


def cores() -> int:
    """Cores that this process may use: its affinity and its control group's quota."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _quota(Path("/sys/fs/cgroup/cpu.max"))
    return max(1, min(usable or 1, quota or usable or 1))


def cpu_workers(threads: int, memory_gib: float) -> int:
    """Workers of ``threads`` threads and ``memory_gib`` GiB each that fit; at least one."""
    by_memory = int(psutil.virtual_memory().available / 2**30 / memory_gib)
    return max(1, min(cores() // threads, by_memory))


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory so far (0 if unknown)."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _quota(path: Path) -> int | None:
    try:
        limit, period = path.read_text().split()
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(1, int(limit) // int(period))
