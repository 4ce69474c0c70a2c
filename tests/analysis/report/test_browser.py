"""The report in a real browser: quiet, alone, drawn, and it does what it offers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from analysis.data.results import Results
from analysis.report.report import write_report
from tests.analysis import browser as web
from tests.analysis.conftest import tables

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(web.missing()), reason=f"no browser: {web.missing()}"),
]
EVIL = "<script>window.hit=1</script><img src=x onerror='window.hit=2'>\"'&]]>\u202e\U0001f600 "


@pytest.fixture(scope="module")
def tab(tmp_path_factory) -> Iterator[web.Browser]:
    with web.browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """Two models, one of them short of a cell."""
    pairs = [tables(), tables("other-1b")]
    cells, scores = (pd.concat([pair[i] for pair in pairs]) for i in (0, 1))
    cells["status"] = ["failed" if c == "other-1b/2bit" else "done" for c in cells["cell"]]
    results = Results(cells=cells, scores=scores)
    out = tmp_path_factory.mktemp("report")
    return write_report(results, out, title="Two models", provenance={})["report.html"]


@pytest.fixture
def report(tab, page) -> web.Browser:
    tab.logs("browser")
    tab.requests()
    tab.open(page)
    return tab


def test_it_loads_quietly_and_alone(report, page) -> None:
    assert [one for one in report.logs("browser") if one["level"] != "INFO"] == []
    assert set(report.requests()) <= {page.as_uri()}


def test_every_chart_is_drawn(report) -> None:
    sizes = report.run(
        "return [...document.querySelectorAll('figure svg')]"
        ".filter(s => getComputedStyle(s.closest('figure')).display != 'none')"
        ".map(s => [s.getBoundingClientRect().width,"
        " s.querySelectorAll('path, use').length])"
    )
    assert len(sizes) >= 8
    assert all(width > 200 and marks > 20 for width, marks in sizes)


def test_definitions_and_models_can_be_chosen(report) -> None:
    shown = (
        "const seen = e => e.getClientRects().length > 0;"
        "return [seen(document.querySelector('figure.def-sr1')),"
        " seen(document.querySelector('figure.def-sr2')),"
        " [...document.querySelectorAll('tr[data-model=\"other-1b\"]')].some(seen)]"
    )
    assert report.run(shown) == [False, True, True]
    report.click("input[name=def][value=sr1]")
    assert report.run(shown) == [True, False, True]
    report.click("input[name=model][value='other-1b']")
    assert report.run(shown) == [True, False, False]


def test_a_heading_sorts_its_column(report) -> None:
    column = (
        "const t = document.querySelector('#table-cells').parentElement;"
        "const at = [...t.querySelectorAll('th')].findIndex(h => h.textContent == 'TCr');"
        "return [at, [...t.querySelectorAll('tbody tr')].map(r => "
        "parseFloat(r.cells[at].textContent))]"
    )
    at, before = report.run(column)
    press = (
        "document.querySelector('#table-cells').parentElement"
        f".querySelectorAll('th button')[{at}].click()"
    )
    report.run(press)
    assert report.run(column)[1] == sorted(before)
    report.run(press)
    assert report.run(column)[1] == sorted(before, reverse=True)


def test_pointing_at_a_mark_names_its_cell(report) -> None:
    under = (
        "const s = [...document.querySelectorAll('figure.def-sr2 .spot')]"
        ".find(s => s.textContent.startsWith('2:8 + 4bit'));"
        "s.scrollIntoView({block: 'center'}); const b = s.getBoundingClientRect();"
        "const found = document.elementFromPoint(b.x + b.width / 2, b.y + b.height / 2);"
        "return [found.getAttribute('class'), s.textContent]"
    )
    name, said = report.run(under)
    assert name == "spot"
    assert said.startswith("2:8 + 4bit: 0.8")


def test_published_points_are_painted_when_asked_for(report) -> None:
    marks = (
        "return [...document.querySelectorAll('.controls .published, figure .published')]"
        ".filter(g => g.getClientRects().length > 0).map(g => [g.classList[1],"
        " getComputedStyle(g.querySelector('path')).strokeLinecap])"
    )
    assert {name for name, _ in report.run(marks)} == {"laborde2025", "jsq2024", "mpt"}  # keys
    before = len(report.run(marks))
    for paper, ends in (("laborde2025", "round"), ("jsq2024", "square")):
        report.click(f"input[name=published][value={paper}]")
        # A mark without length is nothing but its ends.
        assert {cap for name, cap in report.run(marks) if name == paper} == {ends}
    assert len(report.run(marks)) > before


def test_nothing_is_wider_than_the_window(report) -> None:
    for width in (1366, 420):
        report.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        assert report.run("return document.documentElement.scrollWidth") <= width
    report.devtools("Emulation.clearDeviceMetricsOverride")


def test_print_shows_whole_tables_and_no_controls(report) -> None:
    style = (
        "const of = q => getComputedStyle(document.querySelector(q));"
        "return [of('.controls').display, of('.wide').overflowY, of('.wide').maxHeight]"
    )
    assert report.run(style)[0] != "none"
    report.devtools("Emulation.setEmulatedMedia", media="print")
    try:
        assert report.run(style) == ["none", "visible", "none"]
    finally:
        report.devtools("Emulation.setEmulatedMedia", media="")


def test_retention_is_in_sight_without_scrolling(tab, tmp_path) -> None:
    """On a phone in the table of results, on a desk in the table of all cells."""
    cells, scores = tables()
    cells = cells[~cells["label"].str.contains("ignored|33")]
    results = Results(cells=cells, scores=scores[scores["cell"].isin(cells["cell"])])
    tab.open(write_report(results, tmp_path, title="One", provenance={})["report.html"])
    for width, table in ((390, "result"), (1400, "cells")):
        tab.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        right = (
            f"const box = document.querySelector('[aria-labelledby=table-{table}]');"
            "const head = [...box.querySelectorAll('th')].find(h => h.textContent.trim() == 'Sr2');"
            "return head.getBoundingClientRect().right"
        )
        assert tab.run(right) <= width
    tab.devtools("Emulation.clearDeviceMetricsOverride")


def test_the_dark_has_light_ink_and_paper_stays_white(report) -> None:
    colours = (
        "const s = getComputedStyle(document.body);"
        "const mean = c => c.match(/[0-9]+/g).slice(0, 3).reduce((a, b) => a + +b, 0) / 3;"
        "return [mean(s.backgroundColor), mean(s.color)]"
    )
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    try:
        report.devtools("Emulation.setEmulatedMedia", media="", features=dark)
        paper, ink = report.run(colours)
        assert paper < 60
        assert ink > 200
        report.devtools("Emulation.setEmulatedMedia", media="print", features=dark)
        paper, ink = report.run(colours)
        assert paper > 250
        assert ink < 60
    finally:
        report.devtools("Emulation.setEmulatedMedia", media="", features=[])


def test_definitions_are_folded_and_paper_has_no_folds(report) -> None:
    closed = "return [...document.querySelectorAll('#how ~ details')].filter(d => !d.open).length"
    assert report.run(closed) == 2
    report.run("window.dispatchEvent(new Event('beforeprint'))")
    assert report.run(closed) == 0


def test_a_link_to_a_folded_table_opens_it(report) -> None:
    report.run("location.hash = 'table-scores'; window.dispatchEvent(new Event('hashchange'))")
    assert report.run("return document.getElementById('table-scores').parentElement.open")


def test_hostile_names_are_text(tab, tmp_path) -> None:
    cells, scores = tables(EVIL + "model")
    cells["label"] = EVIL + cells["label"]
    cells["status"] = ["failed" if c.endswith("/3bit") else "done" for c in cells["cell"]]
    cells["reason"] = EVIL
    scores["task"] = EVIL + scores["task"]
    files = write_report(
        Results(cells=cells, scores=scores[scores["cell"].isin(cells["cell"])]),
        tmp_path,
        title=EVIL,
        provenance={EVIL: EVIL},
    )
    tab.logs("browser")
    tab.requests()
    tab.open(files["report.html"])
    assert tab.run("return window.hit === undefined")
    assert tab.run("return document.querySelectorAll('main img').length") == 0
    assert tab.run("return document.title").startswith("<script>window.hit=1</script>")
    assert set(tab.requests()) <= {files["report.html"].as_uri()}
    assert [one for one in tab.logs("browser") if one["level"] != "INFO"] == []
