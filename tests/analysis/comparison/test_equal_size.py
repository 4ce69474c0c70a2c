"""At equal size: groups by bytes of the files, and pruning that saves none of them."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.comparison.equal_size import equal_size, served_bytes, unsaved
from analysis.data.labels import labels
from analysis.data.panel import panels
from analysis.report.answers import answers
from analysis.report.contents import conclusions, spoken


def named(panel, rows) -> set[str]:
    return {labels(panel)[row] for row in rows}


def test_cells_compete_by_the_bytes_of_their_files(make) -> None:
    (panel,) = panels(make())
    found = {round(size / 1e6): verdict for size, verdict in equal_size(panel, "sr2")}
    assert list(found) == [269, 124, 111]
    assert named(panel, found[269].ranked) == {"dense", "25%", "2:8"}
    # a cell whose mask was ignored has its bytes as any other
    assert "25% + 4bit (mask ignored)" in named(panel, found[124].ranked)
    assert labels(panel)[found[124].ranked[0]] == "4bit"
    assert all(verdict.size and verdict.tcr is None for verdict in found.values())


def test_of_a_very_large_group_the_best_are_compared_and_the_others_said_to_be_left_out(
    make, monkeypatch
) -> None:
    monkeypatch.setattr("analysis.comparison.equal_size.MOST_COMPARED", 2)
    (panel,) = panels(make())
    largest = equal_size(panel, "sr2")[0][1]
    assert named(panel, largest.ranked) == {"dense", "25%"}
    assert [labels(panel)[row] for row, _ in largest.left_out] == ["2:8"]


def test_sizes_are_measured_or_by_formula_never_mixed(make) -> None:
    (whole,) = panels(make())
    assert served_bytes(whole)[0] == 269e6
    (lacking,) = panels(make(cells=lambda c: c.assign(bytes=c["bytes"].where(c.index > 0))))
    size = served_bytes(lacking)
    assert np.isfinite(size).all()
    assert size[0] == pytest.approx(2 * 134.5e6)  # 16 bits of every weight


def test_pruning_that_saves_no_byte_is_named_with_what_it_is_as_large_as(make) -> None:
    (panel,) = panels(make())
    found = {labels(panel)[one.like]: named(panel, one.rows) for one in unsaved(panel)}
    assert found["dense"] == {"25%", "2:8"}
    assert found["4bit"] == {"25% + 4bit", "2:8 + 4bit", "25% + 4bit (mask ignored)"}


def test_removed_parameters_and_sparse_files_do_save(make) -> None:
    (small,) = panels(make(cells=lambda c: c.assign(stored_bits=c["bits"] * (1 - c["sparsity"]))))
    assert unsaved(small) == []
    (removed,) = panels(
        make(cells=lambda c: c.assign(pattern=np.where(c["sparsity"] > 0, "structured", "")))
    )
    assert unsaved(removed) == []


def test_both_answers_are_said_in_full(make) -> None:
    results = make()
    groups = panels(results)
    one = answers(groups[0])
    assert any(line.startswith("At 124.0 MB, 4bit (0.931 ± ") for line in one.size)
    assert any(
        line.startswith("At 25 % TCr, choose 25%") or "undecided" in line for line in one.rate
    )
    assert any("2:8" in line and "dense (269.0 MB)" in line for line in one.unsaved)
    told = spoken(results, groups)
    assert (
        told.index("At equal TCr") < told.index("At equal size") < told.index("no byte as served")
    )
    assert all(line in told for line in conclusions(results, groups))


def test_several_models_are_told_apart(make) -> None:
    import pandas as pd

    from analysis.data.results import Results

    one, two = make(), make(model="Other")
    both = Results(
        cells=pd.concat([one.cells, two.cells]), scores=pd.concat([one.scores, two.scores])
    )
    told = spoken(both, panels(both))
    assert "(Other):" in told
    assert "(SmolLM2-135M):" in told
