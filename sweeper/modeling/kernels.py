"""Which kernels the numeric libraries of this process use: the best there are, or portable ones.

Libraries choose by the processor when they first compute, and each kernel adds in an order of its
own. The portable ones are those that every x86-64 processor of today has; a stage asks for
them with ``"kernels": "portable"`` (`reproducible=true`). They are no part of its key.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from sweeper.errors import IsorateError

PORTABLE = "portable"
ON_CPU = {
    "MKL_CBWR": "COMPATIBLE",
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ONEDNN_DEFAULT_FPMATH_MODE": "STRICT",
}
ON_GPU = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "NVIDIA_TF32_OVERRIDE": "0"}
ENVIRONMENT: Mapping[str, str] = {**ON_CPU, **ON_GPU}
"""What portable kernels are to the libraries; read when they first compute."""
_OTHERS = (
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_DEBUG_CPU_TYPE",
    "DNNL_MAX_CPU_ISA",
    "DNNL_DEFAULT_FPMATH_MODE",
    "OPENBLAS_CORETYPE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
VARIABLES = (*ENVIRONMENT, *_OTHERS)
"""Every variable that makes a library take other kernels than the best of the processor."""


def wanted(specs: Iterable[Mapping[str, Any]]) -> bool:
    """Whether any of some stages asks for portable kernels; the others may be given them too."""
    return any(spec.get("kernels") == PORTABLE for spec in specs)


def choose(specs: Iterable[Mapping[str, Any]]) -> None:
    """Portable kernels for this process, if any of its stages asks for them.

    Raises:
        IsorateError: torch is loaded already, and may have chosen.
    """
    if not wanted(specs) or in_use():
        return
    if "torch" in sys.modules:
        raise IsorateError(
            "portable kernels are wanted (reproducible=true), but torch has been loaded with "
            "others in this process: start it anew"
        )
    os.environ.update(ENVIRONMENT)


def in_use() -> bool:
    """Whether this process has the portable kernels."""
    return all(os.environ.get(name) == value for name, value in ENVIRONMENT.items())


def hold() -> None:
    """Deterministic algorithms beside portable kernels, if torch is loaded.

    What has no deterministic form (a sum of integers on a GPU) warns into the stage's log.
    """
    torch = sys.modules.get("torch")
    if torch is None or not in_use():
        return
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def settings() -> dict[str, str]:
    """The variables that are set, for a manifest; empty where the libraries choose freely."""
    return {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}


def summary(settings: Mapping[str, str], *, gpu: bool) -> str:
    """As one says it of a machine: "portable kernels", "MKL_CBWR=AVX2", "" where nothing is set.

    Args:
        settings: as in a manifest.
        gpu: of a GPU, whose numbers the processor's variables do not touch; and the reverse.
    """
    if all(settings.get(name) == value for name, value in ENVIRONMENT.items()):
        return "portable kernels"
    graphic = {*ON_GPU, "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"}
    return " ".join(
        f"{name}={value}" for name, value in sorted(settings.items()) if (name in graphic) == gpu
    )
