"""The machine is recorded with every stage, and what was made on another one is marked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.data.panel import panels
from analysis.data.results import Results
from sweeper.results.outcomes import CellOutcome, StageOutcome, compressed_on, devices
from sweeper.worker import machine
from sweeper.worker.metering import Meter
from tests.analysis.simulated import answers, results

INTEL = "model name\t: Xeon 8481C\nflags\t\t: fpu avx2 avx512f amx_bf16\n"
AMD = "model name\t: EPYC 7763\nflags\t\t: fpu avx2\n"


@pytest.mark.parametrize(
    ("text", "model", "flag"),
    [
        (INTEL, "Xeon 8481C", "amx_bf16"),
        (AMD, "EPYC 7763", "avx2"),
    ],
)
def test_the_cpu_is_read_from_what_the_kernel_says(tmp_path, text, model, flag) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    found, flags = machine._cpu(tmp_path / "cpuinfo")
    assert (found, next(one for one in machine._FLAGS if one in flags)) == (model, flag)


def test_without_such_a_file_it_is_what_python_knows(tmp_path) -> None:
    assert machine._cpu(Path(tmp_path / "none"))[1] == frozenset()


def test_every_manifest_says_where_the_stage_ran() -> None:
    found = Meter("cpu").facts()
    assert found["cpu"]
    assert {"cpu", "instructions", "kernels", "machine"} <= set(found)


def outcome(made: dict, scored: dict) -> CellOutcome:
    stages = (
        StageOutcome(kind="quantize", key="q", manifest=made),
        StageOutcome(kind="evaluate", key="e", task="t", manifest=scored),
    )
    return CellOutcome(cell={"key": "c"}, status="done", reason="", stages=stages)


def test_cpus_are_told_apart() -> None:
    amx = {"device": "cpu", "cpu": "Xeon 8481C", "instructions": "amx_bf16"}
    one = outcome(amx, {"device": "cpu", "cpu": "EPYC 7763", "instructions": "avx2"})
    assert compressed_on(one) == "cpu (Xeon 8481C, amx_bf16)"
    assert devices(one) == "cpu (EPYC 7763, avx2)"
    assert devices(outcome({}, {"device": "cpu"})) == "cpu"
    gpu = amx | {"device": "cuda", "device_name": "A100"}
    assert devices(outcome({}, gpu)) == "A100"


def test_ratios_across_machines_are_marked() -> None:
    made = results({"t": answers(np.random.default_rng(1), (0.8, 0.6, 0.6), 60)})
    here, there = "cpu (EPYC 7763, avx2)", "cpu (Xeon 8481C, amx_bf16)"
    cells = made.cells.assign(device=here, compressed_on=["", here, there])
    (p,) = panels(Results(cells=cells, scores=made.scores, documents=made.documents))
    assert (p.gap == "").all()
    assert p.remark[:2, 0].tolist() == ["", ""]
    assert p.remark[2, 0] == f"compressed on {there}, the baseline scored on {here}"
