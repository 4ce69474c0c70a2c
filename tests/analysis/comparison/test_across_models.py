"""What several models say of two methods together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.comparison.across_models import across_table, comparisons
from analysis.data.documents import Documents
from analysis.data.panel import Panel, panels
from analysis.data.results import Results
from analysis.output.render import to_markdown
from tests.analysis.simulated import answers, results

K = 4


def model(name: str, gap: float, *, base: str = "", seed: int = 0) -> Panel:
    """Dense, K seeds of gptq, and K of rtn, which is worse by ``gap``."""
    rng = np.random.default_rng(seed)
    shift = rng.normal(0, 0.005, size=(2, K))
    levels = [0.8, *(0.6 + shift[0]), *(0.6 - gap + shift[1])]
    made = results({"t": answers(rng, levels, 400)})
    cells = made.cells.assign(
        model=name,
        base=base,
        method="",
        calibration_seed=[np.nan, *range(K), *range(K)],
        label=["dense"] + ["gptq"] * K + ["rtn"] * K,
        quant_method=[""] + ["gptq"] * K + ["rtn"] * K,
    )
    return panels(Results(cells=cells, scores=made.scores, documents=made.documents))[0]


@pytest.mark.parametrize(
    ("gaps", "shared"),
    [
        ((0.2, 0.2), "gptq in both"),
        ((0.2, 0.2, 0.2), "gptq: holds for models (3)"),
        ((0.2, 0.2, 0.0), "gptq in m0 and m1 only"),
        ((0.2, -0.2), "contradictory"),
        ((0.0, 0.0), "undecided in each"),
    ],
)
def test_what_is_shared(gaps: tuple[float, ...], shared: str) -> None:
    groups = [model(f"m{n}", gap, seed=n) for n, gap in enumerate(gaps)]
    (found,) = comparisons(groups)
    assert found.shared == shared


def test_another_base_counts_for_no_model() -> None:
    groups = [model("m", 0.2), model("m-off-grid", 0.2, base="m"), model("n", 0.2, seed=2)]
    (found,) = comparisons(groups)
    assert found.shared == "gptq in both"
    (found,) = comparisons(groups[:2])
    assert found.shared == "one model"
    assert found.verdict("m-off-grid") == "gptq"


def test_differences_are_those_of_the_first_method_everywhere() -> None:
    table = across_table([model("m", 0.2), model("n", -0.1, seed=1)])
    rows = table.rows.set_index("model")
    assert set(rows["first"]) == {"gptq"}
    assert rows.loc["m", "difference"] > 0 > rows.loc["n", "difference"]
    for _, row in rows.iterrows():
        assert row["low"] < row["difference"] < row["high"]
    assert "contradictory" in to_markdown(table)


def test_one_model_has_no_such_table() -> None:
    assert comparisons([model("m", 0.2)]) == []
    assert across_table([model("m", 0.2)]).rows.empty


def test_the_base_of_a_model_is_kept_with_its_cells() -> None:
    made = results({"t": answers(np.random.default_rng(0), [0.8, 0.6], 50)})
    assert set(made.cells["base"]) == {""}
    cells = pd.DataFrame(made.cells).assign(base="m0")
    kept = Results(cells=cells, scores=made.scores, documents=Documents())
    assert set(kept.cells["base"]) == {"m0"}
