"""What one attempt costs and where it ran: the provenance part of a manifest."""

from __future__ import annotations

import importlib.metadata
import platform
import resource
import socket
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from sweeper.store.manifest import Facts
from sweeper.worker import machine

PACKAGES = (
    "isorate",
    "torch",
    "transformers",
    "llmcompressor",
    "compressed-tensors",
    "lm-eval",
    "datasets",
    "tokenizers",
    "safetensors",
    "numpy",
)


class Meter:
    """Counts seconds and bytes from its making on."""

    def __init__(self, device: str) -> None:
        """Start to count."""
        self._device = device
        _reset_peaks()
        self._started = datetime.now(UTC)
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def facts(self) -> Facts:
        """Seconds, CPU seconds and peak bytes since the start; device, host, versions."""
        facts: Facts = {
            "started": self._started.isoformat(timespec="milliseconds"),
            "ended": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "seconds": round(time.monotonic() - self._wall, 3),
            "cpu_seconds": round(time.process_time() - self._cpu, 3),
            "peak_rss_bytes": peak_rss_bytes(),
            "device": self._device,
            "host": socket.gethostname(),
            "machine": platform.machine(),
            "versions": dict(versions()),
            **machine.facts(),
            **_gpu_facts(self._device),
        }
        if known := commit():
            facts["commit"] = known
        return facts


@cache
def versions() -> tuple[tuple[str, str], ...]:
    """Python and the installed packages that can shift a number."""
    found = [("python", platform.python_version())]
    for name in PACKAGES:
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return tuple(found)


@cache
def commit() -> str:
    """The commit of the checkout that this code runs from, "-dirty" if changed; "" if none."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):  # no git here, or a disk that hangs
        return ""
    return done.stdout.strip()


def peak_rss_bytes() -> int:
    """The most memory this process held: since the last meter on Linux, else ever."""
    with suppress(OSError):  # no /proc: the rusage figure below is what there is
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _reset_peaks() -> None:
    """A worker lives through many stages: each one's peak must be its own."""
    with suppress(OSError):  # not Linux, or forbidden: the peak is the whole process's then
        Path("/proc/self/clear_refs").write_text("5")
    cuda = _cuda()
    if cuda is not None:
        cuda.reset_peak_memory_stats()


def _gpu_facts(device: str) -> Facts:
    cuda = _cuda()
    if device != "cuda" or cuda is None:
        return {}
    return {
        "device_name": cuda.get_device_name(),
        "peak_gpu_bytes": cuda.max_memory_allocated(),
    }


def _cuda() -> Any | None:
    """torch.cuda if a stage has begun to use it in this process; never imports torch."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None
