"""Tests against a loopback hub; they need the directory that ISORATE_TEST_HUB names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.hub import serving, standins

HERE = Path(__file__).parent
CONTEXT = 4096  # positions cost a Llama nothing, and real prompts are long

Isorate = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.hub)
            if not os.environ.get(serving.VARIABLE):
                reason = f"{serving.VARIABLE} names no directory with data and serve.py"
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the hub serves: the real data, the stand-ins, a tiny model."""
    root = standins.build(tmp_path_factory.mktemp("hub") / "root", real())
    long_context(tiny.make(root / "tiny/llama"))
    return root


def real() -> Path:
    return Path(os.environ[serving.VARIABLE]).absolute()


def long_context(checkpoint: Path) -> Path:
    """Let a tiny model read prompts of real length."""
    for name, key in (
        ("config.json", "max_position_embeddings"),
        ("tokenizer_config.json", "model_max_length"),
    ):
        config = json.loads((checkpoint / name).read_text())
        (checkpoint / name).write_text(json.dumps(config | {key: CONTEXT}))
    return checkpoint


@pytest.fixture
def isorate(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Isorate:
    """The console command in a fresh process."""
    cache = tmp_path_factory.getbasetemp() / "xdg"

    def run(*words: str, env: dict[str, str], status: int = 0) -> Any:
        command = [sys.executable, "-m", "sweeper", *words]
        own = {"ISORATE_HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(cache)}
        done = subprocess.run(command, env=env | own, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run
