"""The report's tables of the demo are what they were when they were last written on purpose.

`demo/` has the results of one run of ``experiment=demo`` and the tables that they gave. Who means
to change a table writes them anew: ``python -m tests.golden.test_demo_tables``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from analysis.data.documents import Documents
from analysis.data.results import Results
from analysis.report.report import write_report

DEMO = Path(__file__).with_name("demo")
TABLES = sorted(path.name for path in (DEMO / "tables").glob("*.csv"))
CLOSE = 1e-12  # other processors sum in another order


def report(out: Path) -> Path:
    """The tables of a report of the recorded results."""
    results = Results(
        cells=pd.read_csv(DEMO / "cells.csv"),
        scores=pd.read_csv(DEMO / "scores.csv"),
        documents=Documents.load(DEMO / "documents.parquet"),
    )
    write_report(results, out, title="demo", provenance={})
    return out / "tables"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return report(tmp_path_factory.mktemp("report"))


def test_the_report_has_these_tables(made):
    assert sorted(path.name for path in made.glob("*.csv")) == TABLES


@pytest.mark.parametrize("name", TABLES)
def test_the_table_is_the_same(made, name):
    now, then = pd.read_csv(made / name), pd.read_csv(DEMO / "tables" / name)
    pd.testing.assert_frame_equal(now, then, rtol=CLOSE, atol=CLOSE)


if __name__ == "__main__":
    shutil.rmtree(DEMO / "tables")
    (DEMO / "tables").mkdir()
    written = report(Path("outputs/golden"))
    for path in written.glob("*.csv"):
        shutil.copy(path, DEMO / "tables")
