"""What people type: keys that do not exist, directories of any name, YAML that reads numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException

from sweeper.cli.config_errors import explain
from sweeper.config import schema
from sweeper.errors import BadInput
from sweeper.methods import validation
from tests import tiny
from tests.composing import composed
from tests.planned import plan_of
from tests.stubs import kinds as standin


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return standin.model(tmp_path_factory.mktemp("typed") / "model")


@pytest.mark.parametrize(
    ("word", "key", "hint"),
    [
        ("+prune.sparsty=50", "prune.sparsty", "Did you mean prune.sparsity"),
        ("++quant.bitz=4", "quant.bitz", "Did you mean quant.bits"),
        ("+tasks.foo.bar=1", "tasks.foo", "valid: tasks.names"),
        ("+calibraton.samples=4", "calibraton", "valid: action"),
    ],
)
def test_keys_that_nothing_reads_are_refused_with_plus_too(
    model: Path, word: str, key: str, hint: str
) -> None:
    with pytest.raises(BadInput, match=f"^{key}=.*there is no such key.*{hint}"):
        plan_of(model, word)


def test_names_can_be_added_to_a_map(model: Path) -> None:
    words = [
        "tasks=demo",
        "tasks.names=[demo_agreement]",
        "+tasks.limits.demo_agreement=5",
        "prune.sparsity=0",
    ]
    assert plan_of(model, *words).cells


def test_no_hint_of_hydras_leads_astray() -> None:
    for word, adds in (("prune.sparsty=50", False), ("tasks.limits.demo_agreement=5", True)):
        with pytest.raises(ConfigCompositionException) as error, composed([word]):
            pass
        assert ("use +" in explain(error.value)) is adds


def test_every_key_is_one_and_no_other() -> None:
    for key in schema.valid_keys():
        assert schema.is_key(key)
        assert not schema.is_key(f"{key}x")
        assert schema.is_key(f"{key}.x") is schema.is_open(key)


@pytest.mark.parametrize("number", ["128", "242"])
def test_what_yaml_made_of_a_pattern(number: str) -> None:
    n, m = divmod(int(number), 60)
    with pytest.raises(BadInput, match=f"In a YAML file write '{n}:{m}' in quotes"):
        validation.nm(number)


def isorate(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    text = tmp_path / "text.txt"
    if not text.exists():
        tiny.text(text)
    own = [
        "model=custom",
        "tasks=none",
        f"home={tmp_path / 'home'}",
        f"calibration.path={text}",
        "calibration.samples=4",
        "calibration.length=32",
        "model.group_size=32",
    ]
    command = [sys.executable, "-m", "sweeper", "plan", *own, *words]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)


@pytest.mark.parametrize("name", ["with space", "ünï 日本", "a,b=c", "dots.and.more", "日本"])
def test_a_directory_of_any_name_names_a_sweep(tmp_path: Path, name: str) -> None:
    path = standin.model(tmp_path / name)
    done = isorate(tmp_path, f"model.id='{path}/'", "prune.sparsity=50")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hydra.mode=RUN"], "hydra.mode=RUN: valid: MULTIRUN"),
        (["hydra/launcher=basic"], "hydra/launcher=basic: valid: local, slurm."),
        (["model.id={0},{1}"], "several models are swept, so the sweep needs a name of its own"),
        (["list", "+foo=1"], "foo=1: there is no such key"),
    ],
)
def test_what_no_plan_can_be_made_of(
    tmp_path: Path, model: Path, words: list[str], message: str
) -> None:
    if words[0] == "list":
        words = ["action=list", *words[1:]]
    given = [word.format(model, standin.model(tmp_path / "other")) for word in words]
    swept = any(word.startswith("model.id=") for word in given)
    done = isorate(tmp_path, *([] if swept else [f"model.id={model}"]), *given)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
