"""The tables as written: layout, rounding once, escaping, flags."""

from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd
import pytest

from analysis.data.panel import panels
from analysis.output import render
from analysis.output.table import Column, Table
from analysis.report.contents import all_tables
from analysis.report.sections import SECTIONS, Material
from analysis.report.tables import cells_table, equal_tcr_table, tcr_table
from analysis.report.task_breakdown import answers_table

NASTY = r"a_b & 50% $x$ #1 {y} ~ ^ \z <b>|"


def by_name(results) -> dict[str, Table]:
    return {table.name: table for table in all_tables(results, panels(results))}


def test_the_tcr_table_is_table_i(published) -> None:
    text = render.to_markdown(tcr_table(published.cells))
    assert "| 4 bit | 75 % | 81.25 % | 83.333 %° |" in text
    assert "| 3 bit | 81.25 % | 85.9375 %° | 87.5 % |" in text
    assert "° no cell of this sweep" in text


def test_csv_is_not_rounded(published) -> None:
    table = by_name(published)["cells"]
    again = pd.read_csv(io.StringIO(table.csv()), float_precision="round_trip")
    assert np.array_equal(again["sr2"], table.rows["sr2"])
    assert "0.818024" in table.csv()


def test_every_table_flags_a_task_at_chance(make) -> None:
    def lower(scores: pd.DataFrame) -> pd.DataFrame:
        arithmetic = (scores["task"] == "arithmetic") & scores["cell"].str.endswith("/dense")
        return scores.assign(value=scores["value"].where(~arithmetic, 0.28))

    tables = by_name(make(scores=lower))
    for name in ("cells", "scores", "equal_tcr_sr1", "equal_tcr_sr2"):
        assert "SmolLM2-135M: arithmetic (the baseline, 0.28" in " ".join(tables[name].notes)
    assert re.search(r"1†", render.to_markdown(tables["cells"]))
    assert r"\dag{}" in render.to_latex(tables["scores"])


def test_collapsed_and_ignored_masks_are_remarked(make) -> None:
    rows = by_name(make())["cells"].rows.set_index("label")
    assert rows.loc["2bit", "flags"] == "collapsed"
    assert rows.loc["25% + 4bit (mask ignored)", "flags"] == "mask ignored"
    line = next(
        line
        for line in render.to_markdown(by_name(make())["cells"]).splitlines()
        if "mask ignored" in line
    )
    assert "| 81.25 % | 75.475 % |" in line  # nominal and achieved side by side


def test_gaps_are_dashes_with_a_remark(make) -> None:
    table = cells_table(panels(make(scores=lambda s: s[~s["cell"].str.endswith("/4bit")])))
    row = next(r for r in render.records(table) if r["label"] == "4bit")
    sr2 = next(c for c in table.columns if c.key == "sr2")
    assert render.text(sr2, row) == render.GAP
    assert "not scored" in str(row["flags"])


def test_the_model_is_named_only_where_there_are_several(make, published) -> None:
    assert "model" not in [c.key for c in by_name(make())["cells"].columns]
    assert "model" in [c.key for c in by_name(published)["cells"].columns]


def test_the_winner_of_each_rate_is_marked(published) -> None:
    rows = equal_tcr_table(panels(published), "sr2").rows
    best = rows[rows["verdict"] == "best"]
    assert ("LLaMA-3.1-8B", "33.333% + 3bit") in list(
        zip(best["model"], best["label"], strict=True)
    )
    assert (
        rows.groupby(["model", "tcr"])["verdict"].first().isin(["best", "highest, undecided"])
    ).all()


@pytest.mark.parametrize(
    ("column", "row", "said"),
    [
        (Column(key="x", title="", form="p"), {"x": 0.0004}, "<0.001"),
        (Column(key="x", title="", form="megabytes", digits=1), {"x": 124e6}, "124.0"),
        (Column(key="x", title="", form="percent"), {"x": 1 / 3, "x_mark": "†"}, "33.333 %†"),
        (
            Column(key="x", title="", form="estimate"),
            {"x": 1.2e7, "x_stderr": 2e5},
            "1.2e+07 ± 2e+05",
        ),
        (Column(key="x", title="", form="number"), {"x": None}, "–"),
        (Column(key="x", title=""), {"x": float("nan")}, ""),
    ],
)
def test_numbers_are_rounded_on_output_only(column: Column, row, said: str) -> None:
    assert render.text(column, row) == said


def nasty_table() -> Table:
    columns = (Column(key="a", title=NASTY), Column(key="b", title="n", form="number"))
    rows = pd.DataFrame({"a": [NASTY, "x\ny"], "b": [1.0, 2.0]})
    return Table(name="n", caption=NASTY, columns=columns, rows=rows, notes=(NASTY,))


def test_latex_is_escaped_and_balanced() -> None:
    text = render.to_latex(nasty_table())
    assert r"a\_b \& 50\% \$x\$ \#1 \{y\} \textasciitilde{} \textasciicircum{} " in text
    assert text.count(r"\begin{") == text.count(r"\end{")
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert [len(re.findall(r"(?<!\\)&", line)) for line in body] == [1, 1]


def test_markdown_keeps_its_columns() -> None:
    lines = [line for line in render.to_markdown(nasty_table()).splitlines() if line[:1] == "|"]
    assert len(lines) == 4
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {3}
    assert "<b>" not in "".join(lines).replace(r"\<b\>", "")


def test_an_empty_sweep_has_empty_tables(make) -> None:
    empty = make(cells=lambda c: c.head(0))
    material = Material(results=empty, groups=panels(empty))
    assert all_tables(empty, panels(empty)) == []
    for table in (t for s in SECTIONS for each in s.tables for t in each(material)):
        assert table.rows.empty
        assert render.to_markdown(table)
        assert render.to_latex(table)


def test_a_score_so_far_is_shown_with_its_mark_and_a_note(make) -> None:
    def stopped(scores: pd.DataFrame) -> pd.DataFrame:
        at = scores["cell"].str.endswith("/3bit") & scores["task"].isin(["facts", "topics"])
        unread = np.where(at & (scores["task"] == "facts"), 7, np.nan)
        return scores.assign(stopped=at, collapsed=at, unextracted=unread)

    results = make(scores=stopped)
    found = {table.name: table for table in all_tables(results, panels(results))}
    found["answers"] = answers_table(panels(results))
    scores, cells, answers = (
        rows_of(found[name])["3bit"] for name in ("scores", "cells", "answers")
    )
    assert scores["facts (acc)"].startswith("0.400")
    assert scores["facts (acc)"].endswith("‡")
    assert scores["topics (word_perplexity)"].endswith("‡")
    assert "‡" not in scores["grammar (acc)"]
    assert cells["R facts"] == "–‡"
    assert cells["Sr1"] == "–"
    assert answers["Right"] == "40 %‡"
    for name in ("scores", "cells", "answers"):
        assert any("asked no further" in note for note in found[name].notes)
    assert r"\ddag{}" in render.to_latex(found["scores"])
    whole = make()
    for table in all_tables(whole, panels(whole)):
        assert "‡" not in render.to_markdown(table)


def rows_of(table: Table) -> dict[str, dict[str, str]]:
    """Label -> title of a column -> what is printed."""
    titles = [column.title for column in table.columns]
    lines = [dict(zip(titles, line, strict=True)) for line in render.printed(table)]
    return {line["Cell"]: line for line in lines}
