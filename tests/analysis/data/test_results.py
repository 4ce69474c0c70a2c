"""The table of results: what it refuses, what it completes, and that it survives a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.data.results import BadResults, Results


def test_csv_round_trip_keeps_every_bit(make, tmp_path: Path) -> None:
    results = make()
    results.save(tmp_path)
    again = Results.load(tmp_path)
    pd.testing.assert_frame_equal(again.cells, results.cells)
    pd.testing.assert_frame_equal(again.scores, results.scores)
    assert (again.cells["sparsity"] == 1 / 3).any()


def test_the_order_of_collection_does_not_matter(make) -> None:
    shuffle = lambda frame: frame.sample(frac=1, random_state=3)  # noqa: E731
    one, other = make(), make(cells=shuffle, scores=shuffle)
    pd.testing.assert_frame_equal(one.cells, other.cells)
    pd.testing.assert_frame_equal(one.scores, other.scores)


def test_optional_columns_may_be_absent(make) -> None:
    results = make(cells=lambda c: c.drop(columns=["bytes", "collapsed", "achieved_sparsity"]))
    assert results.cells["bytes"].isna().all()
    assert not results.cells["collapsed"].any()


def test_the_callers_tables_are_left_alone(make) -> None:
    results = make()
    cells = results.cells.copy()
    Results(cells=cells, scores=results.scores)
    pd.testing.assert_frame_equal(cells, results.cells)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: pd.concat([c, c.head(1)]), "duplicate cells: cell=SmolLM2-135M/dense"),
        (lambda c: c.assign(sparsity=100 * c["sparsity"]), "sparsity is a fraction.*0.25 for 25 %"),
        (lambda c: c.assign(bits=c["bits"] * 2), "bits lie above 0 and up to 16"),
        (lambda c: c.assign(status="ok"), "unknown status .valid: done, failed, missing"),
        (lambda c: c.assign(mask="maybe"), "unknown mask .valid: keep, ignore, exact, none"),
        (lambda c: c.assign(pattern="2:4"), "does not go with sparsity"),
        (lambda c: c.assign(quant_method=""), "fewer bits need one"),
        (lambda c: c.assign(containment=1.5), "containment lies in 0..1"),
        (lambda c: c.assign(sparcity=0), "unknown columns .'sparcity'.; valid: cell, label"),
        (lambda c: c.drop(columns="bits"), "lacks the columns .'bits'."),
        (lambda c: c.assign(bits="four"), "cells.bits holds 'four', which is not a number"),
        (lambda c: c.assign(nm_valid="perhaps"), "nm_valid holds 'perhaps'; valid: true, false"),
        (
            lambda c: pd.concat([c, c[c["label"] == "dense"].assign(cell="other")]),
            "one dense baseline .* more than one here: .*other",
        ),
    ],
)
def test_contradicting_cells_are_refused(make, change, message: str) -> None:
    with pytest.raises(BadResults, match=message):
        make(cells=change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: pd.concat([s, s.head(1)]), "duplicate scores: .*task=arithmetic"),
        (lambda s: s.assign(stderr=-1), "negative standard errors"),
        (lambda s: s.assign(metric=""), "need a task and a metric"),
        (lambda s: s.assign(primary=None), "do not say whether primary"),
        (lambda s: pd.concat([s, s.assign(metric="other")]), "one primary metric"),
        (lambda s: s.assign(chance=np.arange(len(s))), "chance differs between cells"),
        (
            lambda s: s.assign(higher_is_better=np.arange(len(s)) % 3 == 0),
            "higher_is_better differs between cells",
        ),
    ],
)
def test_contradicting_scores_are_refused(make, change, message: str) -> None:
    with pytest.raises(BadResults, match=message):
        make(scores=change)


def test_scores_of_unknown_cells_are_refused(make) -> None:
    results = make()
    with pytest.raises(BadResults, match="scores of cells that do not exist: cell=SmolLM2"):
        Results(cells=results.cells.tail(2), scores=results.scores)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadResults, match=r"cells\.csv does not exist"):
        Results.load(tmp_path)


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import sys, analysis; heavy = {'pandas', 'numpy', 'matplotlib', 'jinja2'} & "
        "set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_only_drawing_imports_matplotlib() -> None:
    code = "import sys, analysis.report.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
