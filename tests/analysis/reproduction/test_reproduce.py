"""The directory that is held beside the paper: what is in it, and what cannot be made."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from analysis.data.results import BadResults, Results
from analysis.published.reference import laborde2025
from analysis.reproduction.reproduce import (
    FIGURES,
    ITEMS,
    TABLES,
    Source,
    items,
    write,
    write_files,
)


@pytest.fixture(scope="module")
def paper():
    return Source(name="published", results=laborde2025(), published=True)


def sweep() -> Source:
    """A sweep that measured the paper's cells, in subtasks, a little differently."""
    full = laborde2025()
    cells = full.cells.assign(model=full.cells["model"].str.lower())
    leaves = {"MMLU-Pro": "mmlu_pro", "BBH": "bbh_cot_fewshot", "MATH": "minerva_math"}
    parts = [
        full.scores.assign(
            task=full.scores["task"].map(leaves) + f"_{p}",
            n=full.scores["n"] // 2,
            version="4",
            value=full.scores["value"] * 0.98,
        )
        for p in "ab"
    ]
    return Source(name="mine", results=Results(cells=cells, scores=pd.concat(parts)))


@pytest.fixture(scope="module")
def made(paper, tmp_path_factory):
    out = tmp_path_factory.mktemp("paper")
    return write(items([paper]), out, title="Published", provenance={"source": "published"})


def test_all_tables_and_figures_are_there(made) -> None:
    for name in TABLES:
        assert all(f"tables/{name}.{kind}" in made for kind in ("csv", "md", "tex"))
    for name in FIGURES:
        assert all(f"figures/{name}.{kind}" in made for kind in ("svg", "pdf"))
    assert {
        "tables/claims.csv",
        "tables/audit.csv",
        "tables/mpt_transitions.csv",
        "tables/jsq_accounting.csv",
        "figures/mpt_surface_10_LLaMA-2-7B.pdf",
        "index.html",
        "report.json",
    } <= set(made)


def test_the_page_loads_nothing_and_has_no_double_ids(made) -> None:
    page = made["index.html"].read_text()
    assert not re.search(r'(src|href)="(?!#)', page)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert len(page) < 2_500_000
    # 8 of the paper, 2 fronts, 3 families, 9 of MPT, 1 of JSQ
    assert page.count("<svg role") == 23


def test_again_is_the_same(made, paper, tmp_path) -> None:
    again = write(items([paper], "fig6"), tmp_path, title="t", provenance={})
    assert again["figures/fig6.pdf"].read_bytes() == made["figures/fig6.pdf"].read_bytes()


def test_one_item_alone_leaves_the_rest(paper, tmp_path) -> None:
    write(items([paper], "table2"), tmp_path, title="t", provenance={})
    files = write_files(items([paper], "table3"), tmp_path)
    assert sorted(files) == ["tables/table3.csv", "tables/table3.md", "tables/table3.tex"]
    assert (tmp_path / "tables" / "table2.csv").exists()


def test_all_of_it_removes_what_an_earlier_call_left(paper, tmp_path) -> None:
    write(items([paper], "table2"), tmp_path, title="t", provenance={})
    write(items([paper], "table3"), tmp_path, title="t", provenance={})
    assert not (tmp_path / "tables" / "table2.csv").exists()


def test_both_sources_side_by_side(paper) -> None:
    names = ("table2", "both", "claims", "fig1", "audit")
    made = {name: items([sweep(), paper], name)[0] for name in names}
    assert [t.name for t in made["table2"].tables] == ["table2_measured", "table2_published"]
    assert "(mine)" in made["table2"].tables[0].caption
    beside = made["both"].tables[0]
    assert len(beside.rows) == 144
    assert set(beside.rows["task"]) == {"MMLU-Pro", "BBH", "MATH"}
    assert "task version 4" in " ".join(beside.notes)
    assert [t.name for t in made["claims"].tables] == ["claims_measured", "claims_published"]
    assert len(made["fig1"].figures) == 1
    assert len(made["audit"].tables) == 1


def test_measured_alone_has_no_audit_and_nothing_beside() -> None:
    names = [item.name for item in items([sweep()])]
    assert names == [name for name in ITEMS if name not in ("both", "audit", "mpt", "jsq")]


def test_what_cannot_be_made_says_why(paper, make) -> None:
    with pytest.raises(BadResults, match="valid: claims, table1"):
        items([paper], "table8")
    with pytest.raises(BadResults, match="needs a measured sweep and the published"):
        items([paper], "both")
    dense = Source(name="s", results=make(cells=lambda c: c[c["label"] == "dense"]))
    with pytest.raises(BadResults, match="fig1 cannot be made from s: no cell that it shows"):
        items([dense], "fig1")
