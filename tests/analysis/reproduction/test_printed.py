"""What the paper prints stays printed; what its own numbers give stands beside it, marked."""

from __future__ import annotations

import pytest

from analysis.data.panel import panels
from analysis.output.render import printed
from analysis.published.reference import facts, laborde2025
from analysis.reproduction.laborde_tables import CAPTIONS, score_table
from analysis.reproduction.printed import MARK, as_printed


@pytest.fixture(scope="module")
def both():
    return panels(laborde2025())


@pytest.mark.parametrize("numeral", list(CAPTIONS)[1:])
def test_every_number_is_the_printed_one(both, numeral: str) -> None:
    made = as_printed(score_table(both, numeral), numeral).rows
    known = facts("laborde2025", numeral)
    for task in ("MMLU-Pro", "BBH", "MATH", "Mean"):
        rows = known[known["task"] == task]
        assert list(made[task]) == list(rows["value"])
        assert list(made[f"{task}_std"]) == list(rows["std"])


def test_the_two_of_table_iii_that_do_not_follow_are_marked(both) -> None:
    table = as_printed(score_table(both, "III"), "III")
    titles = [column.title for column in table.columns]
    lines = {(line[0], line[1]): dict(zip(titles, line, strict=True)) for line in printed(table)}
    two, three = (lines["LLaMA-3.1-8B", f"{bits}bit"] for bits in (2, 3))
    assert (two["Mean"], two["Recomputed from the scores"]) == (f"0.6{MARK}", "Mean 0.7")
    assert three["Recomputed from the scores"] == "Mean Std 0.3"
    marked = table.rows[table.rows["recomputed"] != ""]
    assert len(marked) == 2
    assert f"{MARK} as printed" in table.notes[-1]
    row = table.rows[table.rows["label"] == "2bit"].iloc[0]
    assert row["Mean_recomputed"] == pytest.approx((1.9 + 0.1 + 0.0) / 3, abs=0.02)


def test_a_table_that_follows_has_no_mark(both) -> None:
    table = as_printed(score_table(both, "III"), "III")
    rows = table.rows[table.rows["recomputed"] == ""]
    assert rows.filter(like="_mark").isna().all().all()
