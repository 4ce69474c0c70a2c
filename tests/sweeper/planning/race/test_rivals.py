"""Cells race where results will call them methods of one rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeper.planning.race import rivals
from tests import tiny
from tests.planned import plan_of


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    model: Path = tmp_path_factory.mktemp("rivals") / "model"
    tiny.make(model)
    plan = plan_of(
        model,
        "rotate=none,hadamard",
        "quant.bits=4",
        "calibration.seed=0,1",
        "calibration.samples=4,8",
    )
    return [planned.cell for planned in plan.cells if not planned.cell.dense]


def test_a_seed_makes_no_rival_and_rotation_and_text_do(cells: list[Any]) -> None:
    assert len({rivals.rate(cell) for cell in cells}) == 1
    assert len(cells) == 8
    assert len({rivals.method(cell) for cell in cells}) == 4
