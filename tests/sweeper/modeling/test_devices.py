"""The number of GPUs of a process, from its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeper.modeling import devices


@pytest.mark.parametrize(
    ("env", "ids"),
    [
        ({"CUDA_VISIBLE_DEVICES": "2,3"}, ["2", "3"]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8f2a"}, ["GPU-8f2a"]),
        ({"CUDA_VISIBLE_DEVICES": ""}, []),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles", "SLURM_JOB_ID": "7"}, []),
        ({"CUDA_VISIBLE_DEVICES": "0", "SLURM_JOB_ID": "7", "SLURM_GPUS_ON_NODE": "4"}, ["0"]),
        ({"SLURM_JOB_ID": "7", "SLURM_GPUS_ON_NODE": "2"}, ["0", "1"]),
        ({"SLURM_JOB_ID": "7"}, []),
    ],
)
def test_the_environment_decides(env: dict[str, str], ids: list[str]) -> None:
    assert devices.gpu_ids(env) == ids


@pytest.mark.parametrize(("status", "found"), [(0, 2), (9, 0)])
def test_else_the_drivers_own_tool_tells(
    tmp_path: Path, monkeypatch: Any, status: int, found: int
) -> None:
    tool = tmp_path / "nvidia-smi"
    lines = "GPU 0: NVIDIA A100 (UUID: GPU-1)\nGPU 1: NVIDIA A100 (UUID: GPU-2)"
    tool.write_text(f"#!/bin/sh\necho '{lines}'\nexit {status}\n")
    tool.chmod(0o755)
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert devices.gpus() == found


def test_without_it_there_is_none(monkeypatch: Any, tmp_path: Path) -> None:
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.gpus() == 0
