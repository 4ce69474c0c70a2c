"""Strings of every awkward kind, as a model's name: refused, or through the whole way as they are.

One sweep holds them all (stand-in stages, one cell each); each has its test.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.faults import tally, whole
from tests.security.pages import Page

PASSED = {
    "unicode": "\u00e9\u2603\u6a21\u578b",
    "command": "$(touch pwned)`touch pwned`",
    "single quotes": "it's 'quoted'",
    "double quotes": 'a "quoted" name',
    "path": "../../pwned",
    "tag": "<script>alert(1)</script>",
    "300 characters": "x" * 300,
}
REFUSED = {"line break": "two\nlines", "backspace": "name\b\bx", "escape": "\x1b[31mred"}
REFUSED |= {"right to left": "model\u202eledom"}

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which one sweep of all names was run."""
    path = tmp_path_factory.mktemp("hostile")
    write(path, list(PASSED.values()))
    done = isorate("run", path)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def cells(place: Path) -> list[dict[str, Any]]:
    """What `isorate status` says of them."""
    found: list[dict[str, Any]] = json.loads(isorate("status", place, "output=json").stdout)[
        "cells"
    ]
    return found


def write(path: Path, names: list[str]) -> None:
    """An experiment with one cell for each name."""
    folder = path / "choices" / "experiment"
    folder.mkdir(parents=True, exist_ok=True)
    cells = [{"model.name": name, "model.id": model(path, n)} for n, name in enumerate(names)]
    base = {"id": cells[0]["model.id"]}
    text = yaml.safe_dump({"name": "whole", "model": base, "cells": cells})
    (folder / "hostile.yaml").write_text("# @package _global_\n" + text, encoding="utf-8")


def model(path: Path, number: int) -> str:
    """A checkpoint of its own: two names of one checkpoint would be one cell."""
    made = whole.model(path / f"model{number}") / "config.json"
    made.write_text(json.dumps(json.loads(made.read_text()) | {"number": number}))
    return str(made.parent)


def isorate(verb: str, path: Path, *more: str) -> whole.Done:
    """One command on it."""
    taken = ("model.name=", "model.id=", "name=", "prune.", "quant.")
    overrides = [w for w in whole.words(path / "home", path / "model") if not w.startswith(taken)]
    choice = [f"--config-dir={path / 'choices'}", "experiment=hostile"]
    return whole.isorate(verb, [*overrides, *choice, *more], cwd=path)


@pytest.mark.parametrize("kind", PASSED)
def test_a_name_goes_the_whole_way_as_it_is(
    kind: str, place: Path, cells: list[dict[str, Any]]
) -> None:
    name = PASSED[kind]
    assert [cell["status"] for cell in cells if cell["model"] == name] == ["done"]
    page = Page((place / "home/sweeps/whole/report/report.html").read_text(encoding="utf-8"))
    assert name in page.shown
    assert page.loaded == []
    models = [run.data.params.get("model") for run in whole.runs(place / "home")]
    assert models.count(name) == 1
    assert not list(place.parent.rglob("pwned"))
    tally.survived("a hostile name through the whole way")


@pytest.mark.parametrize("kind", REFUSED)
def test_a_name_that_could_forge_a_line_is_refused(kind: str, tmp_path: Path) -> None:
    write(tmp_path, [REFUSED[kind]])
    done = isorate("plan", tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "control characters" in done.stderr
    assert REFUSED[kind] not in done.stderr
    assert not (tmp_path / "home" / "sweeps").exists()
    tally.survived("a hostile name refused before anything starts")
