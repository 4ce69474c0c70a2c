"""The page and its files: complete, escaped, self-contained, the same twice."""

from __future__ import annotations

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.data.panel import panels
from analysis.output.figure import slug
from analysis.output.text import END, LONGEST, short
from analysis.report.findings import findings
from analysis.report.report import write_report
from analysis.report.sections import Material, figures_of

VOID = {"meta", "input", "br", "link", "img", "path", "use", "rect"}


class Page(HTMLParser):
    """Collects ids, references and what is left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        known = dict(attrs)
        self.ids += [v for k, v in known.items() if k == "id" and v]
        self.links += [v for k, v in known.items() if k in ("src", "href", "action") and v]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="session")
def written(published, tmp_path_factory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("report")
    return write_report(published, out, title="Published", provenance={"commit": {"sha": "abc"}})


def digests(files: dict[str, Path]) -> dict[str, str]:
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def test_all_files_are_there(written) -> None:
    for table in ("result", "cells", "scores", "tcr", "equal_tcr_sr1", "equal_tcr_sr2"):
        assert {f"tables/{table}.{kind}" for kind in ("csv", "md", "tex")} <= set(written)
    for figure in (
        *("retention_over_tcr_sr2", "retention_over_size_sr2", "retention_per_cell"),
        *("srcr_p_over_sparsity", "srcr_q_over_bits", "srcr_j_over_bits", "srcr_joint_cells"),
    ):
        for kind in ("svg", "pdf"):
            assert written[f"figures/{figure}_LLaMA-3.1-8B.{kind}"].stat().st_size > 2000
    assert json.loads(written["report.json"].read_text())["files"] == sorted(written)
    assert not list(written["report.html"].parent.rglob("*.tmp"))


def test_the_page_is_well_formed_and_alone(written) -> None:
    text = written["report.html"].read_text()
    page = Page(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    inside = [link[1:] for link in page.links if link.startswith("#")]
    assert set(inside) <= set(page.ids)
    files = {link for link in page.links if not link.startswith(("#", "https:"))}
    assert files <= set(written)
    assert {"tables/cells.csv", "tables/cells.tex", "data/scores.csv", "report.json"} <= files
    assert "https://arxiv.org/abs/2505.07289" in page.links
    # An address is followed by who clicks it; nothing else in the page has one.
    bare = re.sub(r'<a href="https://[^"]*"', "", text)
    assert re.findall(r"https?://(?!www\.w3\.org/)", bare) == []
    assert len(text) < 3_000_000


def test_both_answers_come_first_then_every_cell_then_the_main_charts(written) -> None:
    text = written["report.html"].read_text()
    signs = (
        *("At equal TCr: what the formula counts", "At equal size: what the files take"),
        *('id="table-result"', 'class="figures"', 'id="rate"', 'id="size"', 'id="how"'),
    )
    order = [text.index(sign) for sign in signs]
    assert order == sorted(order)
    assert "At 81.25 % TCr, choose 25% + NF4" in text
    assert "commit.sha" in text


def test_of_many_answers_the_most_compressed_are_in_sight_the_others_folded(published) -> None:
    one = findings(panels(published)[0])
    assert len(one.of("rate")) == 12  # six rates by either definition
    shown = [found for found in one.leading("rate") if found.definition == "sr2"]
    assert [found.sentence.split(" TCr")[0] for found in shown] == [
        *("At 75 %", "At 81.25 %", "At 87.5 %"),
    ]
    assert len(one.leading("rate")) + len(one.further("rate")) == 12


def test_a_reader_finds_the_runs(make, tmp_path: Path) -> None:
    links = {"MLflow": 'http://host:5000/?a="b'}
    files = write_report(make(), tmp_path, title="t", provenance={}, links=links)
    page = Page(files["report.html"].read_text())
    assert page.open == []
    assert 'http://host:5000/?a="b' in page.links


def test_every_figure_is_of_one_hue_a_kind_and_says_what_it_found(make) -> None:
    results = make()
    figures = figures_of(Material(results=results, groups=panels(results)))
    for figure in figures:
        drawn = {
            one.lower() for one in re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", str(figure.svg))
        }
        assert not drawn & {"#cc79a7", "#e69f00"}, figure.name  # hues that mean no kind
    assert len({figure.name for figure in figures}) == len(figures)


def test_an_axis_with_one_value_is_not_drawn(make) -> None:
    def one_rate(cells):
        return cells[cells["label"].isin(["dense", "25% + 4bit", "2:8 + 4bit"])]

    results = make(cells=one_rate)
    material = Material(results=results, groups=panels(results))
    names = {figure.name.split("_Smol")[0] for figure in figures_of(material)}
    assert not {n for n in names if n.startswith(("srcr_j_over", "srcr_p", "srcr_q"))}


def test_it_follows_the_reader_into_the_dark(written) -> None:
    text = written["report.html"].read_text()
    assert "prefers-color-scheme: dark" in text
    drawings = " ".join(re.findall(r'<svg role="img".*?</svg>', text, flags=re.S))
    assert "var(--ink)" in drawings
    assert "var(--joint)" in drawings
    assert not re.search(r"(?:fill|stroke): #(?:000000|ffffff)", drawings)


def test_equal_input_gives_equal_bytes(make, tmp_path: Path) -> None:
    shuffle = lambda frame: frame.sample(frac=1, random_state=1)  # noqa: E731
    one = write_report(make(), tmp_path / "a", title="t", provenance={"b": 1, "a": [2]})
    other = write_report(
        make(cells=shuffle, scores=shuffle),
        tmp_path / "b",
        title="t",
        provenance={"a": [2], "b": 1},
    )
    assert digests(one) == digests(other)


def test_nothing_of_the_user_becomes_markup(make, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>&\"'$--> "

    def rename(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(**{c: evil + frame[c] for c in ("label", "model") if c in frame})

    def fail(cells: pd.DataFrame) -> pd.DataFrame:
        return rename(cells).assign(
            status=["failed" if c.endswith("/3bit") else "done" for c in cells["cell"]], reason=evil
        )

    results = make(cells=fail, scores=lambda s: s.assign(task=evil + s["task"]))
    files = write_report(results, tmp_path, title=evil, provenance={evil: evil})
    text = files["report.html"].read_text()
    assert text.count("<script>") == 1
    assert Page(text).open == []
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


@pytest.mark.filterwarnings("error:constrained_layout")
def test_long_names_leave_room_for_the_drawing(make) -> None:
    long = "a_name_that_nobody_can_read_" * 6
    results = make(
        cells=lambda c: c.assign(label=long + c["label"]),
        scores=lambda s: s.assign(task=long + s["task"]),
    )
    material = Material(results=results, groups=panels(results))
    drawn = {figure.name.split("_Smol")[0] for figure in figures_of(material)}
    assert {"retention_per_cell", "srcr_joint_cells"} <= drawn
    assert short("2:8 + 4bit (seed 1)") == "2:8 + 4bit (seed 1)"
    assert short(long + "(seed 1)").endswith("_read_(seed 1)"[-END:])
    assert len(short(long)) == LONGEST


def test_a_second_report_replaces_the_first_and_nothing_else(make, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    first = write_report(make(), tmp_path, title="t", provenance={})
    second = write_report(make(model="other"), tmp_path, title="t", provenance={})
    gone = set(first) - set(second)
    assert any("SmolLM2-135M.svg" in name for name in gone)
    assert not any((tmp_path / name).exists() for name in gone)
    assert all(path.is_file() for path in second.values())
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_an_index_cannot_reach_outside(make, tmp_path: Path) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("still here")
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.json").write_text(json.dumps({"files": ["../victim.txt"]}))
    write_report(make(cells=lambda c: c.head(1)), out, title="t", provenance={})
    assert victim.exists()


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (lambda c: c.head(0), "This sweep has no cells, so there is nothing to judge."),
        (lambda c: c.head(1), "There is one cell only, so there is nothing to compare."),
        (lambda c: c[c["label"] != "dense"], "There is no dense baseline: add the cell"),
        (lambda c: c.assign(status="missing"), "10 of 10 cells missing"),
    ],
)
def test_a_sweep_with_little_in_it_says_so(make, tmp_path: Path, cells, said: str) -> None:
    files = write_report(make(cells=cells), tmp_path, title="t", provenance={})
    text = files["report.html"].read_text()
    assert said in text
    assert Page(text).open == []
    assert "nan" not in re.sub(r"<[^>]*>|<style.*?</style>", "", text.split("<main>")[1]).split()


def test_models_that_share_a_file_name_keep_their_figures(make) -> None:
    one, other = make(model="a/b"), make(model="a b")
    figures = figures_of(Material(results=one, groups=[*panels(one), *panels(other)]))
    assert slug("a/b") == slug("a b")
    assert len({figure.name for figure in figures}) == len(figures)


def test_labels_in_a_figure_do_not_touch() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from analysis.output.label_placement import place

    drawing = Figure(figsize=(7, 4))
    FigureCanvasAgg(drawing)
    axes = drawing.subplots()
    points = [(0.5 + 0.01 * (i % 3), 0.5 + 0.015 * i, f"25% + {i}bit") for i in range(12)]
    axes.set(xlim=(0, 1), ylim=(0, 1))
    drawing.draw_without_rendering()
    assert place(axes, points) == 0
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 12
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_collapsed_model_prints_no_warning(make, tmp_path, recwarn) -> None:
    """Perplexities whose errors have no finite square, in numbers and in drawings."""
    huge = [21.0, 22.0, 24.0, 27.0, 1e120, 1e160, 1e170, 1e180, 1e200, np.nan]

    def collapsed(scores):
        rows = scores["task"] == "topics"
        values = scores["value"].copy()
        values[rows] = huge
        return scores.assign(value=values, stderr=scores["stderr"].where(~rows, values / 2))

    write_report(make(scores=collapsed), tmp_path, title="t", provenance={})
    assert [one for one in recwarn if issubclass(one.category, RuntimeWarning)] == []
