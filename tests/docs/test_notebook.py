"""The manual's notebook was executed, and the check of it finds what it is for."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "tutorial"
spec = importlib.util.spec_from_file_location("execute", FOLDER / "execute.py")
execute = importlib.util.module_from_spec(spec)
spec.loader.exec_module(execute)


@pytest.mark.parametrize(
    ("now", "same"),
    [
        ("Sr 0.99 of 3", True),
        ("Sr  0.97 of 3", True),
        ("Sr 0.90 of 3", True),
        ("Sr -0.01 of 3", True),
        ("Sr nan of 3", False),
        ("Sr1 0.99 of 3", False),
        ("Sr 0.99 of 3 of 4", False),
    ],
)
def test_other_words_are_a_difference(now, same):
    assert (execute.differences(["Sr 0.99 of 3"], [now]) == []) == same


def test_a_verdict_may_fall_otherwise_but_not_about_something_else():
    stored = ["At 81.25 % TCr, choose 3bit (0.99).\nreport.html"]
    assert execute.differences(stored, ["At 81.25 % TCr, undecided.\nreport.html"]) == []
    assert execute.differences(stored, ["At 75 % TCr, choose 3bit (0.99).\nreport.html"])
    assert execute.differences(stored, [])


def test_every_cell_of_the_notebook_was_executed_in_order():
    cells = json.loads((FOLDER / "notebook.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert not [o for cell in code for o in cell["outputs"] if o["output_type"] == "error"]
    assert all(cell["outputs"] for cell in code[1:])
