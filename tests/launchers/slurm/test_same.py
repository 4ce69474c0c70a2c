"""The comparison of two homes: nothing compared is nothing shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.slurm import same


def home(root: Path, score: float) -> str:
    folder = root / "store" / "evaluate" / "k"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({"score": score, "seconds": hash(root)}))
    return str(root)


@pytest.mark.parametrize(("score", "status"), [(0.5, 0), (0.25, 1)])
def test_results_are_compared_without_their_clocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, score: float, status: int
) -> None:
    homes = [home(tmp_path / "here", 0.5), home(tmp_path / "there", score)]
    monkeypatch.setattr("sys.argv", ["same", *homes])
    with pytest.raises(SystemExit) as end:
        same.main()
    assert int(end.value.code or 0) == status


def test_two_homes_without_results_are_not_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["same", str(tmp_path / "a"), str(tmp_path / "b")])
    with pytest.raises(SystemExit) as end:
        same.main()
    assert end.value.code
