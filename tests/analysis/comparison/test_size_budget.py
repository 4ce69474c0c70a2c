"""What to take for a budget, and how far that depends on a definition."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.comparison.definition_sensitivity import (
    above_chance,
    exponent_table,
    fieller,
    ranking_table,
)
from analysis.comparison.size_budget import MOST_NAMED, choice_table
from analysis.data.panel import panels
from analysis.output.render import to_markdown
from tests.analysis.simulated import covers


def test_a_budget_admits_what_is_no_larger(make) -> None:
    found = panels(make())
    rows = choice_table(found).rows
    assert list(rows["budget"]) == sorted(rows["budget"])
    assert (rows["bytes"] <= rows["budget"]).all()
    assert rows.iloc[0]["sure"] == "the only one that fits"
    assert rows.iloc[0]["label"] == "2bit"
    assert rows.iloc[-1]["label"] == "dense"
    (at_124,) = rows[rows["budget"] == 124e6].to_dict("records")
    assert at_124["label"] == "4bit"  # not the joint cells of the same size
    assert "25% + 4bit" in at_124["instead"]
    assert (np.diff(rows["sr"]) >= 0).all()


def test_of_many_rivals_the_nearest_are_named_and_the_data_have_all(make) -> None:
    def many(table):
        again = table[table["cell"].str.endswith("/4bit")]
        return pd.concat([table, *(again.assign(cell=again["cell"] + f" {i}") for i in range(9))])

    def sizes(table):
        return many(table).assign(group_size=range(len(table) + 9))

    rows = choice_table(panels(make(cells=sizes, scores=many))).rows
    row = rows[rows["budget"] == 124e6].iloc[0]
    assert row["instead"].endswith(f"and {len(row['every_tied'].split(', ')) - MOST_NAMED} more")
    assert row["instead"].count(",") == MOST_NAMED - 1


def test_without_sizes_or_baseline_there_is_no_choice(make) -> None:
    assert choice_table(panels(make(cells=lambda c: c.assign(bytes=np.nan)))).rows.empty
    assert choice_table(panels(make(cells=lambda c: c[c["label"] != "dense"]))).rows.empty
    assert to_markdown(choice_table([]))


def test_above_chance_by_hand_and_without_tasks_at_chance(make) -> None:
    (panel,) = panels(make())
    row = list(panel.cells["label"]).index("4bit")
    by_hand = [
        (0.55 - 0.25) / (0.62 - 0.25),
        (0.66 - 0.25) / (0.71 - 0.25),
        (0.80 - 0.5) / (0.83 - 0.5),
    ]
    assert above_chance(panel)[row] == pytest.approx(np.mean(by_hand))
    assert above_chance(panel)[panel.baseline] == 1
    (hard,) = panels(
        make(scores=lambda s: s.assign(chance=s["chance"].where(s["task"] != "grammar", 0.83)))
    )
    assert above_chance(hard)[row] == pytest.approx(np.mean(by_hand[:2]))
    (none,) = panels(make(scores=lambda s: s.assign(chance=np.nan)))
    assert np.isnan(above_chance(none)).all()


def test_fieller_covers_and_says_when_there_is_no_bound() -> None:
    rng = np.random.default_rng(41)
    top, bottom, cov = 0.2, 0.3, 0.0008
    draws = rng.multivariate_normal([top, bottom], [[0.0016, cov], [cov, 0.0025]], size=2000)
    hits = []
    for a, b in draws:
        found = fieller(a, b, 0.0016, 0.0025, cov)
        hits.append(found.low <= top / bottom <= found.high)
    assert covers(0.95, hits)
    assert fieller(0.2, 0.05, 0.0016, 0.0025, 0).high == np.inf
    tight = fieller(0.2, 0.3, 0.0, 0.0, 0.0)
    assert (tight.low, tight.high) == pytest.approx((2 / 3, 2 / 3))


def test_rankings_and_exponents(make, published) -> None:
    rows = ranking_table(panels(make())).rows
    assert set(rows["verdict"]) <= {"no", "among the best", "yes"}
    (row,) = rows[rows["tcr"] == 0.25].to_dict("records")
    assert (row["sr2"], row["sr1"], row["tau_sr1"], row["verdict"]) == ("25%", "25%", 1.0, "no")
    tables = exponent_table(panels(published))
    llama = tables.rows[tables.rows["model"] == "LLaMA-3.1-8B"].set_index("a")
    # As published (a = .5, b = 1) NF4 comes out first; other exponents choose other cells.
    assert llama.loc[0.5, "b1"] == "25% + NF4"
    assert llama.loc[2.0, "b1"] != llama.loc[0.25, "b1"]
    assert "no" in to_markdown(ranking_table(panels(published)))
