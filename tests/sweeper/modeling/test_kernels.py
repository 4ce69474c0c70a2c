"""Portable kernels: chosen before torch is loaded, recorded, and part of a machine's type."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from launchers.local.process import Command, _environment
from sweeper.modeling import kernels
from sweeper.results import provenance
from sweeper.results.outcomes import CellOutcome, StageOutcome, devices
from sweeper.worker import machine

PORTABLE = [{"kernels": kernels.PORTABLE}]
CHOSEN = """
import json, sys
from sweeper.modeling import kernels
kernels.choose([{}, {"kernels": "portable"}])
import torch
kernels.choose([{"kernels": "portable"}])
kernels.hold()
from sweeper.worker import machine
print(json.dumps([torch.backends.cpu.get_cpu_capability(),
                  torch.are_deterministic_algorithms_enabled(), machine.facts()]))
"""


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in kernels.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_process_with_one_such_stage_has_them_before_torch_is_loaded() -> None:
    bare = {name: v for name, v in os.environ.items() if name not in kernels.VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", CHOSEN], env=bare, capture_output=True, text=True, check=True
    )
    capability, deterministic, facts = json.loads(done.stdout)
    assert capability == "DEFAULT"
    assert deterministic
    assert facts["kernel_settings"] == dict(kernels.ENVIRONMENT)


def test_a_process_that_has_torch_with_others_is_refused(free: pytest.MonkeyPatch) -> None:
    free.setitem(sys.modules, "torch", sys)
    with pytest.raises(kernels.IsorateError, match="start it anew"):
        kernels.choose(PORTABLE)
    assert kernels.settings() == {}
    kernels.choose([{"kind": "prune"}])


def test_local_workers_are_started_with_them(tmp_path, free: pytest.MonkeyPatch) -> None:
    free.setenv("MKL_CBWR", "AVX2")
    given = {"home": tmp_path, "logs": tmp_path, "threads": 1, "stages": "s"}
    assert _environment(Command(**given, portable=True), None).items() >= (
        kernels.ENVIRONMENT.items()
    )
    assert _environment(Command(**given), None)["MKL_CBWR"] == "AVX2"


def outcome(*manifests: dict) -> CellOutcome:
    stages = [StageOutcome(kind="evaluate", key="e", task="t", manifest=m) for m in manifests]
    config = {"model": {"id": "m"}, "tasks": {"dtype": "d", "backend": "b", "batch_size": 1}}
    cell = {"key": "c", "config": config}
    return CellOutcome(cell=cell, status="done", reason="", stages=tuple(stages))


CPU = {"device": "cpu", "cpu": "EPYC", "instructions": "avx512_bf16"}
GPU = {"device": "cuda", "device_name": "A100"}


@pytest.mark.parametrize(
    ("manifest", "settings", "expected"),
    [
        (CPU, {}, "cpu (EPYC, avx512_bf16)"),
        (CPU, {"MKL_CBWR": "AVX2"}, "cpu (EPYC, avx512_bf16, MKL_CBWR=AVX2)"),
        (CPU, {"NVIDIA_TF32_OVERRIDE": "0"}, "cpu (EPYC, avx512_bf16)"),
        (CPU, kernels.ENVIRONMENT, "cpu (EPYC, avx512_bf16, portable kernels)"),
        (GPU, {"MKL_CBWR": "AVX2"}, "A100"),
        (GPU, {"NVIDIA_TF32_OVERRIDE": "0"}, "A100 (NVIDIA_TF32_OVERRIDE=0)"),
        (GPU, kernels.ENVIRONMENT, "A100 (portable kernels)"),
    ],
)
def test_settings_are_part_of_the_type(manifest: dict, settings: dict, expected: str) -> None:
    assert devices(outcome(manifest | {"kernel_settings": dict(settings)})) == expected


def test_every_variable_that_is_set_is_recorded(free: pytest.MonkeyPatch) -> None:
    assert "kernel_settings" not in machine.facts()
    free.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    free.setenv("MKL_ENABLE_INSTRUCTIONS", "")
    assert machine.facts()["kernel_settings"] == {"ONEDNN_MAX_CPU_ISA": "AVX2"}


def test_provenance_names_them_and_is_silent_where_nothing_was_chosen() -> None:
    portable = CPU | {"kernel_settings": dict(kernels.ENVIRONMENT)}
    assert provenance._kernels([outcome(CPU, CPU)]) == {}
    assert provenance._kernels([outcome(portable)]) == {"kernels": "portable kernels"}
    assert provenance._kernels([outcome(portable, CPU)]) == {
        "kernels": "portable kernels; the processor's best"
    }
