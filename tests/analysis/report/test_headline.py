"""The table that is read first."""

from __future__ import annotations

import pytest

from analysis.data.panel import panels
from analysis.output.render import printed
from analysis.report.headline import headline_table


def rows(results):
    table = headline_table(panels(results))
    titles = [column.title for column in table.columns]
    return titles, {line[0]: dict(zip(titles, line, strict=True)) for line in printed(table)}


def test_it_has_rate_size_mask_and_what_is_kept(make):
    titles, found = rows(make())
    assert titles == [
        "cell",
        "TCr",
        "size, MB",
        "bits/weight",
        "mask kept",
        "Sr",
        "perplexity kept",
    ]
    assert next(iter(found)) == "dense"
    one = found["25% + 4bit"]
    assert (one["TCr"], one["size, MB"], one["bits/weight"]) == ("81.25 %", "124.0", "4.25")
    assert one["Sr"].startswith("0.898 ± ")  # (.52 + .63 + .79) / (.62 + .71 + .83)
    assert one["perplexity kept"].startswith("0.708 ± ")  # 21.3 / 30.1
    assert found["4bit"]["mask kept"] == "–"


def test_cells_of_one_rate_stand_together_the_best_first(make):
    _, found = rows(make())
    order = list(found)
    assert order.index("25%") < order.index("2:8") < order.index("4bit")


def test_several_models_are_named(make):
    import pandas as pd

    from analysis.data.results import Results

    one, two = make(), make(model="Other")
    both = Results(
        cells=pd.concat([one.cells, two.cells]), scores=pd.concat([one.scores, two.scores])
    )
    assert headline_table(panels(both)).columns[0].title == "model"


def test_nothing_done_is_no_error(make):
    empty = make(cells=lambda cells: cells.iloc[:0])
    assert len(headline_table(panels(empty)).rows) == 0


@pytest.mark.parametrize("column", ["bytes", "bits_per_weight"])
def test_what_was_not_measured_has_no_column(make, column):
    titles, _ = rows(make(cells=lambda cells: cells.drop(columns=column)))
    assert {"bytes": "size, MB", "bits_per_weight": "bits/weight"}[column] not in titles
