"""JSQ's printed rows beside the cells that repeat them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from analysis.data.results import Results
from analysis.reproduction.jsq_measured import measured_table
from analysis.reproduction.reproduce import Source, items

EQUAL = {"sparsity": 0.4375, "bits": 8, "pattern": "unstructured"}
JSQ = EQUAL | {
    "prune_method": "jsq",
    "quant_method": "smoothquant",
    "range_weight": 2.0,
    "editing": "searched",
    "calibration_samples": 32,
}
FIXED = JSQ | {"editing": "5e-05"}
CELLS: dict[str, dict[str, Any]] = {
    "dense": {},
    "wanda": {
        "prune_method": "wanda",
        "sparsity": 0.859375,
        "pattern": "unstructured",
        "calibration_samples": 32,
    },
    "smooth": {"quant_method": "smoothquant", "bits": 6, "calibration_samples": 32},
    "smooth8": {"quant_method": "smoothquant", "bits": 8, "calibration_samples": 32},
    "both": EQUAL
    | {"prune_method": "wanda", "quant_method": "smoothquant", "calibration_samples": 32},
    "jsq": JSQ,
    "gptq": JSQ | {"quant_method": "gptq"},
    "no sar": JSQ | {"range_weight": 0.0},
    "no editing": JSQ | {"editing": "0"},
    "no search": FIXED,
    "lambda": FIXED | {"range_weight": 4.0},
    "few": FIXED | {"calibration_samples": 8},
    "2:4": FIXED | {"sparsity": 0.5, "pattern": "2:4"},
}
EXPECTED = {
    ("1", "Wanda"): "wanda",
    ("1", "SmoothQuant"): "smooth",
    ("1", "Wanda+SmoothQuant"): "both",
    ("1", "JSQ (Ours)"): "jsq",
    ("2", "Structured 2:4"): "2:4",
    ("3", "JSQ"): "jsq",
    ("3", "-SAR"): "no sar",
    ("3", "-Editing"): "no editing",
    ("3", "-Search"): "no search",
    ("4", "JSQ"): "jsq",
    ("4", "JSQ (GPTQ)"): "gptq",
    ("6", "lambda=2"): "no search",
    ("6", "lambda=4"): "lambda",
    ("8", "n_calibration=32"): "no search",
    ("8", "n_calibration=8"): "few",
}


def results(names: list[str]) -> Results:
    plain = {
        "model": "small",
        "prune_method": "",
        "sparsity": 0.0,
        "pattern": "",
        "quant_method": "",
        "bits": 16,
        "mask": "none",
        "calibration_seed": 0,
        "status": "done",
        "reason": "",
    }
    cells = [plain | {"cell": n, "label": n} | CELLS[n] for n in names]
    for cell in cells:
        if cell["prune_method"] and cell["bits"] < 16:
            cell["mask"] = "keep"
    scores = [
        {
            "cell": n,
            "task": "text",
            "metric": "word_perplexity",
            "value": 20.0 + i,
            "stderr": 0.1,
            "higher_is_better": False,
            "primary": True,
        }
        for i, n in enumerate(names)
    ]
    return Results(cells=pd.DataFrame(cells), scores=pd.DataFrame(scores))


def test_every_cell_stands_beside_the_rows_that_it_repeats() -> None:
    names = list(CELLS)
    found = measured_table(results(names), "mine")
    assert found is not None
    rows = {(r["table"], r["row"]): r for r in found.rows.to_dict("records")}
    assert {key: row["label"] for key, row in rows.items()} == EXPECTED
    mine = rows["3", "-SAR"]
    assert mine["published"] == 11.75
    assert mine["published_ratio"] == pytest.approx(9.42 / 11.75)
    assert mine["measured_ratio"] == pytest.approx(20 / (20 + names.index("no sar")))


def test_a_sweep_without_such_cells_or_without_the_dense_model_has_no_table() -> None:
    assert measured_table(results(["dense", "smooth8"]), "mine") is None
    assert measured_table(results(["jsq", "both"]), "mine") is None


def test_reproduce_shows_it_with_and_without_the_published_numbers() -> None:
    mine = Source(name="mine", results=results(list(CELLS)))
    (alone,) = items([mine], only="jsq")
    assert [table.name for table in alone.tables] == ["jsq_measured"]
    assert not alone.figures
