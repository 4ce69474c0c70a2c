"""The published facts: complete, as printed, without contradictions, and shipped."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest

from analysis.data.panel import panels
from analysis.data.results import BadResults
from analysis.metrics import tcr
from analysis.published import reference
from analysis.published.reference import facts, label, laborde2025, sparsity


@pytest.mark.parametrize(("source", "rows"), [("laborde2025", 332), ("mpt", 968), ("jsq2024", 919)])
def test_every_number_is_there(source: str, rows: int) -> None:
    tables = [facts(source, table) for table in reference.TABLES[source]]
    assert sum(len(table) for table in tables) == rows
    for table in tables:
        printed = table[table["value"].notna()]
        for value, text in zip(printed["value"], printed["value_text"], strict=True):
            assert value in [float(n) for n in re.findall(r"-?\d+\.?\d*", text)], text


def test_no_fact_names_a_file_of_whoever_typed_it() -> None:
    assert not {"seed_file", "seed_line"} & set(facts("laborde2025", "I").columns)


def test_an_unknown_table_names_the_valid_ones() -> None:
    with pytest.raises(BadResults, match="jsq2024: 1, 2"):
        facts("jsq2024", "7")


def test_cells_printed_in_several_tables_agree() -> None:
    import pandas as pd

    all_of = pd.concat([facts("laborde2025", t) for t in reference.TABLES["laborde2025"][1:]])
    key = ["model", "sparsity_pct", "pattern", "method_quant", "bits", "task"]
    assert (all_of.groupby(key)["value"].nunique() == 1).all()
    assert (all_of.groupby(key)["std"].nunique() == 1).all()


def test_a_third_is_a_third() -> None:
    assert Fraction(sparsity(33.333)).limit_denominator(100) == Fraction(1, 3)
    assert sparsity(25) == 0.25
    assert sparsity(33.3) == pytest.approx(0.333)  # not what the paper prints: taken literally
    assert tcr(sparsity(33.333), 3) == Fraction(7, 8)


def test_names_of_cells() -> None:
    names = [
        label(*cell)
        for cell in (
            (0, "", "", 16),
            (0.25, "unstructured", "gptq", 4),
            (1 / 3, "2:6", "gptq", 3),
            (0.5, "unstructured", "llm_int8", 8),
            (1 / 3, "unstructured", "", 16),
        )
    ]
    assert names == ["dense", "25% + 4bit", "2:6 + 3bit", "50% + LLM.int8", "33.333%"]


def test_both_models_have_all_cells_and_tasks() -> None:
    results = laborde2025()
    assert len(results.cells) == 48
    assert len(results.scores) == 144
    for panel in panels(results):
        assert (panel.gap == "").all()
        assert panel.baseline is not None


def test_an_error_printed_as_nought_is_not_certainty() -> None:
    scores = laborde2025().scores.set_index(["cell", "task"])
    collapsed = scores.loc[("laborde2025/LLaMA-3.1-8B/2bit", "BBH")]
    assert collapsed["stderr"] == pytest.approx((0.001 * 0.999 / 6511) ** 0.5)


def test_the_check_value_of_the_definitions() -> None:
    """LLaMA 25 % + 4 bit: Sr 94.4 / 115.4, SrCr_j that times 0.5 times 0.5."""
    panel = panels(laborde2025())[0]
    row = list(panel.cells["label"]).index("25% + 4bit")
    assert panel.sr2().value[row] == pytest.approx(0.818024, abs=1e-6)
