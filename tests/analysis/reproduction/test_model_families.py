"""Models of a family against each other at equal bytes."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.data.panel import panels
from analysis.output import render
from analysis.reproduction.model_families import (
    Family,
    contest_table,
    contests,
    family_figures,
    measured,
    published,
)


def family(rows, higher=False) -> Family:
    columns = ["model", "cell", "rank", "bytes", "value", "stderr"]
    return Family(name="F", score="ppl", higher=higher, rows=pd.DataFrame(rows, columns=columns))


SMALL = [
    ("3B", "16 bit", 0, 6.0, 10.0, 0.1),
    ("8B", "4 bit", 1, 5.0, 9.0, 0.1),
    ("8B", "3 bit", 1, 4.0, 10.5, 0.1),
    ("8B", "16 bit", 1, 16.0, 8.0, 0.1),
]


def test_the_best_larger_cell_that_fits_is_the_rival() -> None:
    found = contests(family(SMALL))
    assert len(found) == 1
    assert found["rival"].iloc[0] == "8B 4 bit"
    assert found["z"].iloc[0] == pytest.approx(1.0 / 0.02**0.5)
    assert found["verdict"].iloc[0] == "the larger, compressed"


def test_direction_follows_the_score() -> None:
    found = contests(family(SMALL, higher=True))
    assert found["rival"].iloc[0] == "8B 3 bit"
    assert found["z"].iloc[0] > 0


def test_nothing_that_fits_is_no_contest() -> None:
    assert contests(family(SMALL[:1])).empty
    render.to_markdown(contest_table([family(SMALL[:1])]))


def test_without_errors_nothing_is_decided() -> None:
    rows = [(*row[:5], float("nan")) for row in SMALL]
    assert contests(family(rows))["verdict"].iloc[0] == "undecided"


def test_published_families_answer() -> None:
    found = pd.concat([contests(one) for one in published()])
    row = found[(found["model"] == "Qwen2.5-1.5B") & (found["cell"] == "FP16")].iloc[0]
    assert row["rival"] == "Qwen2.5-3B GGUF Q6_K"  # 2.79 GB, 9.14; the 7B of 2.78 GB has 9.21
    assert row["z"] == pytest.approx((9.66 - 9.14) / (0.07**2 + 0.06**2) ** 0.5)
    assert {"the larger, compressed"} <= set(found["verdict"])
    assert len(list(family_figures(published()))) == 3


def test_models_of_a_sweep(make) -> None:
    small = make(model="small")
    large = make(
        cells=lambda c: c.assign(total_weights=500e6, bytes=c["bytes"] * 1.5), model="large"
    )
    found = measured([panels(small)[0], panels(large)[0]], "sweep")
    assert found is not None
    assert set(found.rows.groupby("rank")["model"].first()) == {"small", "large"}
    assert found.rows.groupby("rank")["model"].first().iloc[0] == "small"
    assert found.score == "mean of arithmetic, facts, grammar"
    assert not contests(found).empty


def test_one_model_is_no_family(make) -> None:
    assert measured(panels(make()), "sweep") is None
