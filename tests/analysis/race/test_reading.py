"""A race read from results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.data.documents import Documents
from analysis.data.panel import panels
from analysis.data.results import Results
from analysis.data.task_groups import pooled
from analysis.race.decide import decide
from analysis.race.expected import expected_documents
from analysis.race.reading import NotRaceable, answers_of, field_of
from analysis.race.schedule import looks
from analysis.race.settings import RaceSettings
from tests.analysis.simulated import answers

SIZES = {"algebra": 300, "law": 100, "piqa": 260}
GROUPS = {"algebra": "pro", "law": "pro", "piqa": ""}
CELLS = {  # sparsity, bits, share right
    "dense": (0.0, 16.0, 0.8),
    "4bit": (0.0, 4.0, 0.75),
    "25% + 4bit": (0.25, 4.0, 0.7),
    "3bit": (0.0, 3.0, 0.4),
    "8bit": (0.0, 8.0, 0.79),
}


def made(
    asked: Mapping[str, int] | None = None,
    *,
    without: tuple[str, ...] = (),
    scored: bool = True,
    dense_too: bool = False,
) -> Results:
    """A sweep whose dense cell answered everything, others as far as `asked` says of each leaf."""
    rng = np.random.default_rng(0)
    rates = [rate for *_, rate in CELLS.values()]
    drawn = {task: answers(rng, rates, size) for task, size in SIZES.items()}
    cells, scores, tables = [], [], {}
    for i, (name, (sparsity, bits, _)) in enumerate(CELLS.items()):
        if name in without:
            continue
        cells.append(
            {
                "cell": name,
                "label": name,
                "model": "m",
                "prune_method": "sparsegpt" if sparsity else "",
                "sparsity": sparsity,
                "pattern": "unstructured" if sparsity else "",
                "quant_method": "gptq" if bits < 16 else "",
                "bits": bits,
                "mask": "keep" if sparsity else "none",
                "calibration_seed": None,
                "status": "done",
                "reason": "",
                "linear_weights": 1e6,
                "total_weights": 1.2e6,
            }
        )
        for task, right in drawn.items():
            every = asked is None or (name == "dense" and not dense_too)
            count = SIZES[task] if asked is None or every else asked[task]
            own = right[i, :count]
            scores.append(
                {
                    "cell": name,
                    "task": task,
                    "group": GROUPS[task],
                    "metric": "acc",
                    "value": own.mean(),
                    "stderr": 0.01,
                    "n": count,
                    "size": SIZES[task],
                    "higher_is_better": True,
                    "primary": True,
                }
            )
            turned = np.random.default_rng(9).permutation(SIZES[task])[:count]  # place -> document
            columns = {
                "doc_id": turned,
                "doc_hash": [f"{task}{j}" for j in turned],
                "target_hash": "",
            }
            columns |= {"position": range(count)} | ({"acc": own} if scored else {})
            tables[name, task] = pd.DataFrame(columns)
    return Results(
        cells=pd.DataFrame(cells), scores=pd.DataFrame(scores), documents=Documents(tables)
    )


def test_cells_race_at_equal_rate_and_at_equal_size() -> None:
    field = field_of(made())
    by_name = {group.name: set(group.cells) for group in field.groups}
    assert by_name["m at 81.25 % TCr"] == {"25% + 4bit", "3bit"}
    assert {"4bit", "25% + 4bit"} in [set(group.cells) for group in field.groups]  # as served
    assert set(field.alone) == {"8bit"}
    contest = field.contests["m"]
    assert contest.tasks == ("pro", "piqa")
    assert contest.sizes == {"pro": 400, "piqa": 260}


def test_answers_are_read_in_the_order_in_which_they_were_asked() -> None:
    whole = made()
    field = field_of(whole)
    look = looks(field.contests["m"].leaves, 128)[0]
    part = made(look.counts)
    found, out = answers_of(part, field)
    every, _ = answers_of(whole, field)
    assert not out
    for cell in field.cells:
        for leaf, count in look.counts.items():
            assert len(found[cell][leaf]) == count
            assert (found[cell][leaf].numerator == every[cell][leaf].numerator[:count]).all()
    settings = RaceSettings()
    assert decide(settings, field, found) == decide(settings, field, every)
    assert field_of(part) == field  # what was raced does not change who races


def test_other_documents_and_given_up_cells_are_out() -> None:
    results = made()
    field = field_of(results)
    tables = dict(results.documents.sources)
    tables["3bit", "law"] = tables["3bit", "law"].iloc[5:]
    scores = results.scores.assign(
        stopped=[
            cell == "4bit" and task == "piqa"
            for cell, task in zip(results.scores["cell"], results.scores["task"], strict=True)
        ]
    )
    changed = Results(cells=results.cells, scores=scores, documents=Documents(tables))
    found, out = answers_of(changed, field)
    assert out == {
        "3bit": "law: it was asked other documents than the dense cell",
        "4bit": "collapsed: it was given up",
    }
    first = decide(RaceSettings(), field, found, dropped=out)
    assert {"3bit", "4bit"} <= set().union(*(group.dropped for group in first.groups))


def test_what_cannot_race_is_refused_with_what_to_do() -> None:
    with pytest.raises(NotRaceable, match="no dense cell is scored"):
        field_of(made(without=("dense",)))
    with pytest.raises(NotRaceable, match="no two cells of a model are at one rate"):
        field_of(made(without=("4bit", "3bit")))
    with pytest.raises(NotRaceable, match="no score per document of algebra"):
        field_of(made(scored=False))


def test_what_is_compared_must_have_been_scored() -> None:
    with pytest.raises(NotRaceable, match=r"in log_likelihood; set tasks\.race\.by=sr2"):
        field_of(made(), "log_likelihood")
    results = made()
    tables = {
        key: table.assign(acc=0.0) if key[1] == "piqa" else table
        for key, table in results.documents.sources.items()
    }
    value = results.scores["value"].where(results.scores["task"] != "piqa", 0.0)
    failed = replace(
        results, scores=results.scores.assign(value=value), documents=Documents(tables)
    )
    with pytest.raises(NotRaceable, match="the dense cell scored 0 in piqa"):
        field_of(failed, "sr1")
    assert field_of(failed, "sr2").contests["m"].scores["piqa"] == 0


def test_a_race_is_expected_to_ask_less_and_a_pilot_sharpens_that() -> None:
    results = made()
    field = field_of(results)
    settings = RaceSettings()
    before = expected_documents(settings, field)
    assert before == expected_documents(settings, field)
    assert before.dense == 660
    assert before.full == 4 * 660
    assert 256 * 4 <= before.race < before.full
    found, _ = answers_of(results, field)
    pilot = decide(settings, field, found)
    after = expected_documents(settings, field, pilot)
    assert after.cells["8bit"] == 256
    beaten = {cell for group in pilot.groups for cell in group.beaten} - set(pilot.ask)
    assert all(after.cells[cell] == 256 for cell in beaten)


def test_cells_that_were_asked_less_are_compared_on_what_all_were_asked() -> None:
    """Of a race, all cells stand on the first look's documents; none is ranked by more of them."""
    whole = made()
    look = looks(field_of(whole).contests["m"].leaves, 128)[0]
    part = made(look.counts)
    keep = {"dense": whole, "4bit": whole}  # a survivor beside cells that were beaten at once

    def of(cell: str) -> Results:
        return keep.get(cell, part)

    mixed = Results(
        cells=whole.cells,
        scores=pd.concat([of(c).scores.query("cell == @c") for c in CELLS]),
        documents=Documents({k: of(k[0]).documents.sources[k] for k in whole.documents.sources}),
    )
    (one,), (alone,) = panels(pooled(mixed)), panels(pooled(made(look.counts, dense_too=True)))
    assert (one.gap == "").all()
    assert one.value == pytest.approx(alone.value)
    assert one.n == pytest.approx(128 * np.ones_like(one.n))
    assert "on the 128 documents that all cells answered" in one.remark[one.baseline or 0, 0]
