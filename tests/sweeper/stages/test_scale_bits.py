"""Bits of scales and zero points: planned, measured and in the size tables they are the same."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from hypothesis import given
from hypothesis import strategies as st

from analysis.comparison.size import sizes
from analysis.data.panel import panels
from analysis.data.results import SCORE_REQUIRED, Results
from sweeper import methods
from sweeper.methods.quantization import stored_scales
from sweeper.planning import builder, sweep
from sweeper.planning.plan import PlannedCell, Stage
from sweeper.results import tables
from sweeper.results.outcomes import CellOutcome, StageOutcome
from sweeper.stages import Job, measure, quantize
from sweeper.stages.prune import stage as prune
from tests import tiny
from tests.composing import composed

RUNS = {"prune": prune.run, "quantize": quantize.run, "measure": measure.run}
NEEDS = {"nf4": "bitsandbytes", "llm_int8": "bitsandbytes"}
CASES = {
    "awq": [["quant.bits=4"], ["quant.bits=3", "quant.symmetric=false"]],
    "gptq": [
        ["quant.bits=4"],
        ["quant.bits=3", "quant.symmetric=false", "quant.group_size=-1"],
        ["quant.bits=4", "model.save_dtype=float32"],
    ],
    "joint": [["quant.bits=4", "quant.symmetric=false", "prune=sparsegpt", "prune.sparsity=25"]],
    "llm_int8": [[], ["prune=magnitude", "prune.sparsity=25"]],
    "nf4": [[], ["quant.double_quant=true"]],
    "rtn": [
        ["quant.bits=8", "quant.symmetric=false"],
        ["quant.bits=6", "quant.group_size=-1"],
        ["quant.bits=4", "prune=shortgpt", "prune.blocks=1", "quant.symmetric=false"],
        ["quant.bits=8", "quant.group_size=-1", "prune=svd_llm", "prune.sparsity=20"],
    ],
    "smoothquant": [["quant.bits=8"], ["quant.bits=6", "quant.activation_bits=6"]],
}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    # three layers, of which one can go; widths that are no multiples of a word of codes
    folder = tmp_path_factory.mktemp("own")
    tiny.make(folder / "model", layers=3, hidden=96, intermediate=160)
    made = tiny.overrides(folder / "text")
    return [*made, f"model.id={folder / 'model'}", "tasks.names=[demo_pydoc]"]


def planned(own: list[str], *overrides: str) -> PlannedCell:
    with composed([]) as (config, loader):
        (cell,) = builder.plan(config, loader, [*own, *overrides]).cells
    return cell


def made(stage: Stage, folder: Path, outputs: dict[str, Path]) -> dict[str, Any]:
    """What a stage says once it has run; parents before children."""
    outputs[stage.key] = out = folder / stage.kind
    out.mkdir()
    inputs = {role: outputs[parent.key] for role, parent in stage.parents.items()}
    sources = {role: Path(path) for role, path in stage.sources.items()}
    return RUNS[stage.kind](
        Job(params=stage.params, out=out, scratch=out, inputs=inputs, sources=sources)
    )


def bits_in_tables(outcome: CellOutcome) -> pd.Series:
    row = tables.cell_rows([outcome])
    results = Results(cells=pd.DataFrame(row), scores=pd.DataFrame(columns=list(SCORE_REQUIRED)))
    return sizes(panels(results)[0]).iloc[0]


def test_every_quantizer_has_cases() -> None:
    assert list(CASES) == methods.names("quantize")


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        pytest.param(
            name,
            overrides,
            id=" ".join([name, *overrides]),
            marks=pytest.mark.skipif(
                name in NEEDS and find_spec(NEEDS[name]) is None,
                reason="needs pip install 'isorate[bitsandbytes]'",
            ),
        )
        for name, cases in CASES.items()
        for overrides in cases
    ],
)
def test_planned_measured_and_tabled_bits_are_the_same(
    own: list[str], tmp_path: Path, name: str, overrides: list[str]
) -> None:
    cell = planned(own, f"quant={name}", *overrides)
    outputs: dict[str, Path] = {}
    (*_, found) = (made(stage, tmp_path, outputs) for stage in cell.stages.values())
    bits = found["bits_per_weight"]
    assert cell.scale_bits == pytest.approx(bits["scales"] + bits["zero_points"], rel=1e-12)
    assert bits["scales"] > 0
    assert (bits["zero_points"] > 0) == ("quant.symmetric=false" in overrides)

    before = CellOutcome(cell=sweep.cell_json(cell), status="missing", reason="")
    measured = StageOutcome(kind="measure", key="", result=found)
    plan, files = (
        bits_in_tables(outcome) for outcome in (before, replace(before, stages=(measured,)))
    )
    gone = cell.cell.sparsity if cell.cell.pruning and cell.cell.pruning.removes else 0
    assert plan["bits_served"] == pytest.approx(cell.cell.bits * (1 - gone) + cell.scale_bits)
    assert files["bits_served"] == bits["stored"]
    assert files["bits_bitmask"] == pytest.approx(min(bits["total"], bits["unmasked"]))


@given(
    rows=st.integers(1, 80),
    groups=st.integers(1, 3),
    size=st.integers(1, 40),
    bits=st.integers(1, 8),
)
def test_zero_points_are_counted_as_they_are_packed(
    rows: int, groups: int, size: int, bits: int
) -> None:
    params = {
        "bits": bits,
        "group_size": size,
        "symmetric": False,
        "save_dtype": "bfloat16",
        "shapes": {"q_proj": (rows, groups * size)},
    }
    scale = torch.zeros(rows, groups, dtype=torch.bfloat16)
    points = pack_to_int32(torch.zeros(rows, groups, dtype=torch.int8), bits, packed_dim=0)
    stored = 8 * (scale.nbytes + points.contiguous().nbytes)
    assert stored_scales.of_grid(params) == stored / (rows * groups * size)


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
@given(rows=st.integers(1, 300), columns=st.integers(1, 130), twice=st.booleans())
def test_blocks_are_counted_as_bitsandbytes_makes_them(
    rows: int, columns: int, twice: bool
) -> None:
    from bitsandbytes.functional import quantize_4bit

    weight = torch.ones(rows, columns)
    _, state = quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=twice)
    scales = [state.absmax, *([state.state2.absmax] if twice else [])]
    params = {"double_quant": twice, "shapes": {"q_proj": (rows, columns)}}
    stored = 8 * sum(tensor.nbytes for tensor in scales)
    assert methods.quantizer("nf4").scale_bits(params) == stored / (rows * columns)
