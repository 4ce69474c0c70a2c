"""What no race can be: refused with the key, before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.errors import BadInput
from sweeper.planning.race import refusals
from tests import race_rig


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plan")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["prune.sparsity=50"], "tiny has no dense cell, whose answers a race divides by"),
        (
            ["prune.pattern=unstructured", "quant.bits=16"],
            "no two cells of one model are at one compression rate",
        ),
        (["tasks.names=[]"], "this sweep scores nothing"),
        (
            ["tasks.names=[demo_agreement,cola]"],
            "tasks.names=cola: its score .mcc, aggregated by matthews_corrcoef. is no sum",
        ),
    ],
)
def test_a_plan_that_cannot_race_is_refused(folder: Path, words: list[str], said: str) -> None:
    plan = race_rig.plan(folder, *words)
    with pytest.raises(BadInput, match=said):
        refusals.check(plan, plan)


def test_the_grid_can_race_and_imported_scores_cannot(folder: Path) -> None:
    plan = race_rig.plan(folder)
    refusals.check(plan, plan)
    fewer = type(plan)(**{**vars(plan), "cells": plan.cells[:-1]})
    with pytest.raises(BadInput, match="were imported: such a cell was asked other documents"):
        refusals.check(plan, fewer)


def test_cells_that_differ_in_their_seed_alone_are_no_rivals(folder: Path) -> None:
    words = ("prune.pattern=unstructured", "quant.bits=16", "calibration.seed=0,1")
    plan = race_rig.plan(folder, *words)
    with pytest.raises(BadInput, match="no two cells of one model"):
        refusals.check(plan, plan)


@pytest.mark.parametrize(
    ("arguments", "blocks"),
    [
        (["tasks/race=default,spending"], []),
        (["tasks.race.alpha=0.05,0.01"], []),
        (["quant.bits=8,4"], [{"tasks.race.alpha": 0.01}]),
    ],
)
def test_a_race_is_no_axis(arguments: list[str], blocks: list[dict[str, float]]) -> None:
    with pytest.raises(BadInput, match="a sweep has one race"):
        refusals.check_axes(arguments, blocks)


def test_a_race_beside_axes_is_none() -> None:
    refusals.check_axes(["tasks/race=default", "tasks.race.alpha=0.01", "quant.bits=8,4"], [])
