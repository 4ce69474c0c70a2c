"""One rule for machines of several types: in verdicts, pairs, methods and under every table."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from analysis.comparison.across_machines import NO_COMPARISON
from analysis.comparison.verdicts import verdicts
from analysis.data.panel import panels
from analysis.data.results import Results
from analysis.data.task_groups import pooled
from analysis.report.contents import all_tables
from analysis.report.findings import findings
from analysis.report.headline import headline_table
from analysis.report.sentences import conclusion, sentences
from analysis.reproduction.reproduce import Source, items

ZEN, ICE, A10 = "cpu (AMD EPYC, avx512)", "cpu (Intel Xeon, amx)", "NVIDIA A10"
Make = Callable[..., Results]


def on(devices: dict[str, str], column: str = "device") -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Cells of these labels elsewhere, all others on one type."""

    def changed(cells: pd.DataFrame) -> pd.DataFrame:
        typed = cells.assign(device=ZEN, compressed_on=ZEN)
        return typed.assign(**{column: cells["label"].map(devices).fillna(ZEN)})

    return changed


@pytest.mark.parametrize("column", ["device", "compressed_on"])
@pytest.mark.parametrize("other", [ICE, A10, f"{ZEN}+{ICE}"])
def test_a_verdict_across_types_says_so(make: Make, column: str, other: str) -> None:
    (panel,) = panels(make(cells=on({"3bit": other}, column)))
    types = ZEN, other.removeprefix(f"{ZEN}+")
    (group,) = [one for one in verdicts(panel) if one.tcr is not None and float(one.tcr) == 0.8125]
    assert set(group.across.split("; ")) == set(types)
    marked = {panel.cells["label"].iat[p.second]: bool(p.across) for p in group.pairs}
    assert marked == {"2:8 + 4bit": False, "3bit": True}
    assert group.across in conclusion(panel, group)
    told = sentences(panel, group)
    assert ["across machines" in one for one in told if "3bit" in one] == [True]
    assert not any("across machines" in one for one in told if "3bit" not in one)
    (other_group,) = [v for v in verdicts(panel) if v.tcr is not None and float(v.tcr) == 0.25]
    assert other_group.across == ""


def test_every_comparing_table_and_the_terminal_have_the_note(make: Make) -> None:
    results = make(cells=on({"3bit": ICE}))
    groups = panels(results)
    for table in [*all_tables(results, groups), headline_table(groups)]:
        noted = any("machines of several types" in note for note in table.notes)
        assert noted is (table.name not in NO_COMPARISON), table.name
    assert any("several types" in warning for warning in findings(groups[0]).warnings)


def test_on_one_type_nothing_is_said(make: Make) -> None:
    results = make(cells=on({}))
    (panel,) = groups = panels(results)
    words = [note for table in all_tables(results, groups) for note in table.notes]
    words += [conclusion(panel, one) for one in verdicts(panel)]
    words += findings(panel).warnings
    assert not any("machines" in one for one in words)
    assert not any("across" in c.key for t in all_tables(results, groups) for c in t.columns)


def test_pairs_by_budget_size_and_task_are_marked(make: Make) -> None:
    results = make(cells=on({"3bit": ICE, "2bit": ICE, "33.333% + 3bit": ICE}))
    tables = {table.name: table for table in all_tables(results, panels(results))}
    for name in ("equal_tcr_sr2", "equal_tcr_sr1", "choice_sr2"):
        marked = tables[name].rows["across"].fillna("") != ""
        assert marked.any(), name
        assert not marked.all(), name
        assert "across" in [column.key for column in tables[name].columns]


def test_reproduced_tables_and_claims_say_so(make: Make) -> None:
    measured = Source(name="mine", results=pooled(make(cells=on({"3bit": ICE}))), published=False)
    for item in items([measured], only="sizes"):
        for table in item.tables:
            assert any("machines of several types" in note for note in table.notes), table.name
