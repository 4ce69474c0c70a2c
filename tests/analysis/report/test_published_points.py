"""Published rows as points beside a sweep's own: right numbers, in the right place, on request."""

from __future__ import annotations

import re

import numpy as np
import pytest

from analysis.comparison.summary import summarise
from analysis.data.panel import panels
from analysis.published import jsq, reference
from analysis.report.figures import published_points
from analysis.report.report import html
from analysis.report.sections import SECTIONS, Filled, Material, figures_of


def test_every_row_of_the_three_sources_is_a_point_once() -> None:
    found = published_points.points("sr2")
    count = found.groupby("paper").size()
    assert count["laborde2025"] == 2 * 23
    assert count["jsq2024"] == len(jsq.points())
    assert not found[found["paper"] != "mpt"].duplicated(["paper", "name", "tcr", "value"]).any()
    assert found["tcr"].between(0, 1, inclusive="neither").all()


def test_by_hand() -> None:
    """MPT table 10: Q4_K_M alone, 6.1565 / its perplexity; JSQ: MMLU and six more."""
    by = {one: published_points.points(one).set_index(["paper", "name"]) for one in ("sr1", "sr2")}
    facts = reference.facts("mpt", "10")
    row = facts[(facts["sparsity_pct"] == 0) & (facts["method_quant"] == "GGUF Q4_K_M")].iloc[0]
    point = by["sr2"].loc[[("mpt", "LLaMA-2-7B: GGUF Q4_K_M 4bit (perplexity)")]]
    point = point[np.isclose(point["value"], 6.1565 / row["value"])].iloc[0]
    assert point["tcr"] == 0.75
    paper = summarise(panels(reference.laborde2025()))
    mine = paper[(paper["model"] == "LLaMA-3.1-8B") & (paper["label"] == "25% + 4bit")].iloc[0]
    for one, points in by.items():
        key = ("laborde2025", "LLaMA-3.1-8B: 25% + 4bit")
        assert points.loc[key, "value"].item() == pytest.approx(mine[one])
    assert by["sr2"].loc[key, "tcr"].item() == 0.8125
    assert by["sr2"].loc[key, "share_served"].item() > 1 - 0.8125  # every code is stored


def test_sr1_of_jsq_is_the_mean_of_seven_retentions() -> None:
    facts = reference.facts("jsq2024", "1")
    facts = facts[facts["model"] == "LLaMA-7B"]
    tasks = ["PIQA", "BoolQ", "MMLU", "HellaSwag", "Arc-e", "Arc-c", "WinoGrande"]
    starts = (facts["metric"] == "macs").cumsum()
    scores = facts.assign(row=starts).pivot_table(index="row", columns="task", values="value")
    ratios = (scores[tasks] / scores[tasks].iloc[0]).mean(axis=1)
    found = jsq.points()
    mine = found[(found["model"] == "LLaMA-7B") & found["source"].str.endswith(" 1")]["sr1"]
    assert list(mine) == pytest.approx(list(ratios[1:]))


def test_the_page_shows_them_only_on_request_and_inside_the_axes(make) -> None:
    results = make()
    groups = panels(results)
    figures = [
        f
        for f in figures_of(Material(results=results, groups=groups))
        if f.name.startswith("retention_over_tcr")
    ]
    parts = [Filled(section=SECTIONS[0], figures=tuple(figures))]
    page = html(results, title="t", provenance={}, groups=groups, parts=parts, links={})
    for figure in figures:
        assert set(figure.published) == set(published_points.PAPERS)
        width, height = figure.width * 72, 4.3 * 72
        for x, y, said in (one for each in figure.published.values() for one in each):
            assert 0 < x < width
            assert 0 < y < height
            assert re.search(r": -?\d\.\d{3}$", said)
    assert page.count('<g class="published mpt">') == 1 + len(figures)
    for paper in published_points.PAPERS:
        assert f'name="published" value="{paper}">' in page  # not checked
    assert ".published { display: none;" in page
