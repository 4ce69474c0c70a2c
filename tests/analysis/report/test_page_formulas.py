"""The formulas that the page states are those that made its numbers."""

from __future__ import annotations

import html
import re

import numpy as np
import pytest

from analysis.report.report import write_report
from tests.analysis.simulated import answers, panel, results


def task_terms(right: np.ndarray) -> tuple[float, float, float]:
    """s_c^2, s_o^2 and s_co of cell 1 and the dense cell 0, as the page states them."""
    n = right.shape[1]
    o, c = right[0] - right[0].mean(), right[1] - right[1].mean()
    both = n / (n - 1) / n**2
    half = 0.5 / n**2
    return both * (c**2).sum() + half, both * (o**2).sum() + half, both * (o * c).sum()


TASKS = {
    "a": answers(np.random.default_rng(1), (0.8, 0.6, 0.5), 120),
    "b": answers(np.random.default_rng(2), (0.7, 0.65, 0.6), 80),
}


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("report")
    write_report(results(TASKS), out, title="t", provenance={})
    text = html.unescape((out / "report.html").read_text())
    return re.sub(r"<[^>]+>", "", text)


def test_a_retention_recomputed_by_the_printed_text(page) -> None:
    assert "√(s_num² + R² s_den² − 2 R s_co) / P_den" in page
    assert "n/(n − 1) Σ(x_i − x̄)(y_i − ȳ)/n²" in page
    assert "0.5/n² more in s²" in page
    found = panel(TASKS).retentions()
    for place, right in enumerate(TASKS.values()):
        s_c, s_o, s_co = task_terms(right)
        p_o, p_c = right[0].mean(), right[1].mean()
        ratio = p_c / p_o
        assert found.value[1, place] == pytest.approx(ratio)
        error = np.sqrt(s_c + ratio**2 * s_o - 2 * ratio * s_co) / p_o
        assert found.stderr[1, place] == pytest.approx(error, rel=1e-9)
        # what the page used to say: without the covariance it is another number
        assert found.stderr[1, place] < 0.9 * np.sqrt(s_c + ratio**2 * s_o) / p_o


def test_sr2_recomputed_by_the_printed_text(page) -> None:
    assert "(Σs_c² + R² Σs_o² − 2 R Σs_co)/(ΣP_o)²" in page
    terms = np.sum([task_terms(right) for right in TASKS.values()], axis=0)
    top, base = (sum(right[i].mean() for right in TASKS.values()) for i in (1, 0))
    ratio = top / base
    found = panel(TASKS).sr2()
    assert found.value[1] == pytest.approx(ratio)
    error = np.sqrt(terms[0] + ratio**2 * terms[1] - 2 * ratio * terms[2]) / base
    assert found.stderr[1] == pytest.approx(error, rel=1e-9)
