"""The example of docs/methods.md does what the page says: a file, a line, a YAML, a test."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import conf
from sweeper import methods
from sweeper.methods import pruning, registry
from sweeper.planning import builder
from tests.composing import composed

PAGE = Path(__file__).parents[3] / "docs/methods.md"
PIECE = re.compile(r"^`(\S+)`:\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINE = re.compile(r'^    "(\w+)": "(sweeper\.methods\.pruning\.chance)",$', re.MULTILINE)


@pytest.fixture
def pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with the files of the page, and our configuration; the method is found."""
    shutil.copytree(Path(conf.__file__).parent, tmp_path / "conf")
    for path, text in PIECE.findall(PAGE.read_text(encoding="utf-8")):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    folders = [*pruning.__path__, str(tmp_path / "sweeper/methods/pruning")]
    monkeypatch.setattr(pruning, "__path__", folders)
    ((name, module),) = LINE.findall(PAGE.read_text(encoding="utf-8"))
    monkeypatch.setitem(registry.PRUNERS, name, module)
    yield tmp_path
    sys.modules.pop(module, None)
    methods.method.cache_clear()


def test_a_method_is_one_file_one_line_one_yaml_and_one_test(workshop: Any, pieces: Path) -> None:
    files = sorted(p.relative_to(pieces).as_posix() for p in pieces.rglob("*chance*"))
    method, test, choice = (
        "sweeper/methods/pruning/chance.py",
        "tests/sweeper/stages/test_chance.py",
        "conf/prune/chance.yaml",
    )
    assert files == sorted([method, test, choice])
    with composed([], pieces / "conf") as (config, loader):
        words = ["prune=chance", "prune.sparsity=0,50", "quant.bits=16", "tasks=none"]
        planned = builder.plan(config, loader, words)
    assert [cell.label for cell in planned.cells] == ["dense", "random 50%"]
    space: dict[str, Any] = {}
    exec((pieces / test).read_text(encoding="utf-8"), space)
    check = space["test_it_is_what_its_label_says"]
    for amount in check.pytestmark[0].args[1]:
        check(workshop, amount)
