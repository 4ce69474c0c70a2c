"""The notebook's functions: values in, values out, and every command is a process of its own."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st

import isorate
from isorate import api
from sweeper.results import cell_table
from tests import tiny
from tests.golden.test_demo_tables import DEMO

# A sweep of two cells whose stages come from `tests.stubs`, so that a run takes seconds.
STUBBED = (
    "+hydra.launcher.stages=tests.stubs.cells",
    "hydra.launcher.workers=1",
    "tracking.enabled=false",
    "model=custom",
    "model.group_size=32",
    "calibration.samples=4",
    "calibration.length=32",
)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def finished(home, tmp_path_factory):
    """A finished sweep, and its run."""
    files = tmp_path_factory.mktemp("a model, of all things")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        grid = {"prune.sparsity": [0, 25], "quant.bits": 16, "tasks.limit": 20}
        grid |= {"model.id": tiny.make(files / "tiny"), "model.name": "tiny"}
        grid |= {"calibration.path": tiny.text(files / "text.txt")}
        return isorate.run(*STUBBED, grid=grid, name="tiny", home=home)


def test_a_plan_is_a_value_and_touches_nothing(tmp_path):
    grid = {"prune.sparsity": [0, 25], "prune.pattern": ["unstructured", "2:8"]}
    plan = isorate.plan(grid=grid, name="grid", home=tmp_path / "h")
    assert plan.name == "grid"
    assert [cell.label for cell in plan.cells] == ["dense", "25%", "2:8"]
    assert [cell.tcr for cell in plan.cells] == [0.0, 25.0, 25.0]
    assert plan.stages > plan.stages_done == 0
    assert plan.work_s >= plan.wall_s > 0
    assert list(plan.frame["label"]) == ["dense", "25%", "2:8"]
    assert not (tmp_path / "h").exists()


def test_a_run_says_what_became_of_every_cell(finished):
    assert finished.done
    assert {cell.label: cell.status for cell in finished.cells} == {"dense": "done", "25%": "done"}
    assert finished.page.is_file()


def test_results_are_one_row_a_cell(finished, home):
    frame = isorate.results("tiny", home=home)
    assert list(frame["cell"]) == ["dense", "25%"]
    assert frame["cell"].is_unique
    assert frame["tcr"].dtype == float
    assert list(frame["tcr"]) == [0.0, 25.0]
    assert frame["srcr_q"].isna().all()
    assert frame["srcr_q"].dtype == float
    assert not frame["sr"].isna().any()


def test_a_report_names_its_files(finished, home, capfd):
    report = isorate.report(home=home)
    assert report.name == "tiny"
    assert report.page.read_text().startswith("<!")
    assert pd.read_csv(report.files["data/cells.csv"]).shape[0] == 2
    assert capfd.readouterr().out == ""  # the answer is the value


def test_bad_input_has_the_words_of_the_command_line(tmp_path):
    with pytest.raises(isorate.Refused, match=r"^quant.bits=5: gptq, valid: 2, 3, 4, 8"):
        isorate.plan(grid={"quant.bits": [4, 5]}, home=tmp_path)
    with pytest.raises(isorate.Refused, match=r"^name=nosuch: no such sweep"):
        isorate.results("nosuch", home=tmp_path)
    with pytest.raises(isorate.Refused, match="is empty"):
        isorate.plan(grid={"quant.bits": []}, home=tmp_path)


def test_a_command_that_dies_is_no_answer(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("import os, sys; os._exit(7)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("isorate.command.search_path", lambda: str(tmp_path))
    with pytest.raises(isorate.CommandFailed, match="ended with status 7"):
        isorate.plan(home=tmp_path)


@given(st.text(st.characters(min_codepoint=32, exclude_characters="\x7f$"), max_size=20))
@example("NULL")
@example("nan")
@example("nullable")
def test_any_text_arrives_as_it_is(text):
    [word] = api._words({"model.note": text})
    value = OverridesParser.create().parse_overrides([word])[0].value()
    assert str(getattr(value, "text", value)) == text


@pytest.mark.parametrize("value", [None, True, False, 4, 0.5, 1e-7])
def test_plain_values_arrive_as_they_are(value):
    [word] = api._words({"key": value})
    assert OverridesParser.create().parse_overrides([word])[0].value() == value


def test_importing_it_is_light_and_brings_nothing_else():
    code = (
        "import sys, isorate; "
        "print([m for m in sys.modules if m.split('.')[0] in "
        "('sweeper', 'launchers', 'analysis', 'conf', 'hydra', 'pandas', 'torch', 'mlflow')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.strip() == "[]"


def test_everything_public_is_typed_and_documented():
    for name in isorate.__all__:
        found = getattr(isorate, name)
        assert inspect.getdoc(found), name
        if inspect.isfunction(found):
            assert "return" in found.__annotations__, name
        if dataclasses.is_dataclass(found):
            assert found.__dataclass_params__.frozen, name
    assert (Path(isorate.__file__).parent / "py.typed").exists()


def test_the_demo_in_the_units_of_the_command_line():
    """Rows of the recorded demo hold what its tables hold, in percent and MB."""
    from analysis.data.documents import Documents
    from analysis.data.results import Results

    results = Results(
        cells=pd.read_csv(DEMO / "cells.csv"),
        scores=pd.read_csv(DEMO / "scores.csv"),
        documents=Documents.load(DEMO / "documents.parquet"),
    )
    rows = {row["cell"]: row for row in cell_table.rows(results)}
    table = pd.read_csv(DEMO / "tables" / "cells.csv").set_index("label")
    for label, row in rows.items():
        assert row["tcr"] == pytest.approx(100 * table.loc[label, "tcr"])
        assert row["size_mb"] == pytest.approx(table.loc[label, "bytes"] / 1e6)
        assert row["sr"] == pytest.approx(table.loc[label, "sr2"])
        assert row["sr_stderr"] == pytest.approx(table.loc[label, "sr2_stderr"])
        assert (row["mask_kept"] is None) == (row["sparsity"] == 0)
    assert rows["25% + 4bit"]["sparsity"] == 25
    json.dumps(list(rows.values()), allow_nan=False)
