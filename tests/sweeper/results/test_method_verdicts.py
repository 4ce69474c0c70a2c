"""From a planned experiment with calibration seeds to verdicts about its methods."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from analysis.comparison.seed_variance import contrasts, methods_table
from analysis.data.panel import panels
from sweeper.planning import builder
from sweeper.planning.sweep import cell_json
from sweeper.results import tables
from sweeper.results.outcomes import CellOutcome, StageOutcome
from tests import tiny
from tests.composing import composed


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    own = [*tiny.overrides(tmp_path_factory.mktemp("own")), "tasks.names=[demo_pydoc]"]
    with composed(["experiment=joint_vs_sequential"]) as (config, loader):
        params = [f"{k}={v}" for k, v in config.hydra.sweeper.params.items()]
        chosen = ["experiment=joint_vs_sequential", *own]
        made = builder.plan(config, loader, [*params, *chosen])
    return [cell_json(planned) | {"key": planned.key} for planned in made.cells]


def scored(cell, value):
    metrics = {"acc": {"value": value, "stderr": 0.01, "n": 400, "higher_is_better": True}}
    result = {"task": "demo_pydoc", "version": 1, "metrics": metrics, "primary": "acc"}
    stage = StageOutcome(kind="evaluate", key="k", task="demo_pydoc", result=result, manifest={})
    return CellOutcome(cell=cell, status="done", reason="", stages=(stage,))


def test_five_seeds_of_an_experiment_are_verdicts_about_methods(cells) -> None:
    rng = np.random.default_rng(1)
    plain = {c["key"]: c["label"].partition(" [")[0] for c in cells}
    values = {label: rng.uniform(0.4, 0.8) for label in sorted(set(plain.values()))}
    outcomes = [scored(c, values[plain[c["key"]]] + rng.normal(0, 0.002)) for c in cells]
    results = tables.results(outcomes)
    (panel,) = panels(results)
    sizes = Counter(panel.cells["method"]).values()
    assert set(sizes) == {1, 5}  # the dense model, and every method under five seeds
    assert [str(rate) for rate in contrasts(panel)] == ["3/4", "13/16"]
    table = methods_table([panel]).rows
    assert (table["seeds"] == 5).all()
    assert not table["first"].str.contains("seed").any()
    assert not table["second"].str.contains("seed").any()


def test_what_a_method_is_does_not_depend_on_where_it_is_read(cells) -> None:
    """MLflow gives numbers as floats and no section that says nothing."""
    cell = next(c for c in cells if c["bits"] == 4)
    assert (
        tables.cell_rows([scored(cell, 0.5)])[0]["method"]
        == tables.cell_rows([scored(cell | {"bits": 4.0, "calibration_seed": 7}, 0.5)])[0]["method"]
    )
