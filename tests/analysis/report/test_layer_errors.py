"""The report names the matrices that carry the error, and draws all of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.data.combining import together
from analysis.data.panel import panels
from analysis.data.results import Results
from analysis.report.layer_errors import layer_error_maps, layer_error_table
from analysis.report.report import write_report
from sweeper.results.bundle import conclusions

KINDS = ("self_attn.q_proj", "mlp.down_proj")


def results(*, outlier: int = 3) -> Results:
    """Two quantized cells of eight layers; one matrix of the second has nine tenths of its kind."""
    cells = pd.DataFrame(
        [
            {
                "cell": key,
                "label": label,
                "model": "m",
                "prune_method": "",
                "sparsity": 0.0,
                "pattern": "",
                "quant_method": "gptq" if bits < 16 else "",
                "bits": bits,
                "mask": "none",
                "calibration_seed": 0,
                "status": "done",
                "reason": "",
            }
            for key, label, bits in (("a", "dense", 16), ("b", "4bit", 4), ("c", "3bit", 3))
        ]
    )
    score = {"task": "t", "metric": "acc", "stderr": 0.01, "n": 100, "higher_is_better": True}
    scores = pd.DataFrame(
        [
            {"cell": c, "value": v, "primary": True, **score}
            for c, v in zip("abc", (0.8, 0.7, 0.5), strict=True)
        ]
    )
    layers = pd.DataFrame(
        [
            {
                "cell": cell,
                "name": f"model.layers.{layer}.{kind}",
                "weights": 64,
                "error": 0.1,
                "energy": 63.0 if (cell, layer, kind) == ("c", outlier, KINDS[1]) else 1.0,
                "direction": 0.9 if (layer, kind) == (outlier, KINDS[1]) else 0.1,
            }
            for cell in "bc"
            for layer in range(8)
            for kind in KINDS
        ]
    )
    return Results(cells=cells, scores=scores, layers=layers)


def test_the_matrix_that_carries_the_error_comes_first() -> None:
    one = results()
    rows = layer_error_table(one, panels(one)).rows
    assert list(rows["label"].drop_duplicates()) == ["4bit", "3bit"]
    first = rows[rows["label"] == "3bit"].iloc[0]
    assert first["matrix"] == "model.layers.3.mlp.down_proj"
    assert first["share"] == pytest.approx(63 / 70)
    assert first["even"] == pytest.approx(1 / 8)
    assert first["direction"] == 0.9
    assert (rows.groupby("label").size() == 3).all()
    assert np.allclose(rows[rows["label"] == "4bit"]["share"], 1 / 8)


def test_every_matrix_is_on_the_map() -> None:
    one = results()
    (figure,) = layer_error_maps(one, panels(one))
    assert figure.name == "layer_errors_m"
    assert b"<svg" in figure.svg


def test_a_sweep_without_records_has_neither(tmp_path) -> None:
    one = results()
    bare = Results(cells=one.cells, scores=one.scores)
    assert not len(layer_error_table(bare, panels(bare)).rows)
    assert not list(layer_error_maps(bare, panels(bare)))
    files = write_report(bare, tmp_path, title="t", provenance={})
    assert not any("layer_errors" in name for name in files)


def test_the_report_has_both_and_two_sweeps_keep_them(tmp_path) -> None:
    one = results()
    both = together({"x": one, "y": one})
    assert len(both.layers) == len(one.layers)
    files = write_report(both, tmp_path, title="t", provenance={})
    assert "tables/layer_errors.csv" in files
    assert "figures/layer_errors_m.svg" in files
    assert "Matrices that carry the error" in files["report.html"].read_text()


def test_a_bundle_concludes_the_same_with_and_without_records() -> None:
    """It does not hold them, so that nothing in it may follow from them."""
    one = results()
    bare = Results(cells=one.cells, scores=one.scores)
    assert conclusions.of(one) == conclusions.of(bare)
    assert "layer_errors" not in conclusions.of(one).tables


def test_a_matrix_without_a_layer_is_left_out() -> None:
    one = results()
    odd = one.layers.assign(name=one.layers["name"].where(one.layers.index > 0, "lm_head"))
    changed = Results(cells=one.cells, scores=one.scores, layers=odd)
    assert "lm_head" not in set(layer_error_table(changed, panels(changed)).rows["matrix"])
