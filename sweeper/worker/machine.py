"""What machine an attempt ran on, as far as it moves numbers: CPU, instructions, kernels.

What the environment makes the libraries use instead of the best there is belongs to it.

bfloat16 products round differently with and without AMX, so the same checkpoint scores differently
on two CPUs, and the same calibration gives other checkpoints. It is recorded with every stage and
is no part of any key: a result is taken wherever it was made, and marked.
"""

from __future__ import annotations

import platform
import re
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from sweeper.modeling import kernels
from sweeper.store.manifest import Facts

# the widest of each family that moves a product's rounding, the strongest first
_FLAGS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "sve2", "sve", "asimd")
_LIBRARIES = (r"oneAPI Math Kernel Library Version ([\d.]+)", r"MKL-DNN v([\d.]+)")
_NAMES = ("MKL", "oneDNN")


def facts() -> Facts:
    """``cpu`` (model), ``instructions`` (the strongest set) and ``kernels`` (libraries) at work.

    Where the environment chooses kernels, ``kernel_settings`` has its variables.
    """
    model, flags = _cpu(Path("/proc/cpuinfo"))
    strongest = next((flag for flag in _FLAGS if flag in flags), "")
    chosen = kernels.settings()
    found: Facts = {
        "cpu": model,
        "instructions": _used() or strongest,
        "kernels": _kernels(),
    }
    if chosen:
        found["kernel_settings"] = chosen
    return found


@cache
def _cpu(path: Path) -> tuple[str, frozenset[str]]:
    """(model, flags) of the first core; the platform's name where there is no such file."""
    with suppress(OSError):
        text = path.read_text(encoding="utf-8", errors="replace")
        model = re.search(r"^model name\s*: (.+)$", text, flags=re.M)
        flags = re.search(r"^(?:flags|Features)\s*: (.+)$", text, flags=re.M)
        return (
            model[1].strip() if model else platform.processor() or platform.machine(),
            frozenset(flags[1].split()) if flags else frozenset(),
        )
    return platform.processor() or platform.machine(), frozenset()


def _used() -> str:
    """What torch was told to use instead of the best there is, say ATEN_CPU_CAPABILITY=default."""
    torch = sys.modules.get("torch")
    if torch is None:
        return ""
    capability = str(torch.backends.cpu.get_cpu_capability())
    return capability.lower() if capability in ("DEFAULT", "AVX2") else ""


def _kernels() -> str:
    """As "MKL 2024.2, oneDNN 3.7": torch's, if a stage has loaded it; "" if none has."""
    torch = sys.modules.get("torch")
    if torch is None:
        return ""
    text = str(torch.__config__.show())
    found = [
        (name, re.search(pattern, text)) for name, pattern in zip(_NAMES, _LIBRARIES, strict=True)
    ]
    return ", ".join(f"{name} {match[1]}" for name, match in found if match)
