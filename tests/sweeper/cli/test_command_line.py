"""The command line as people type it: verbs, flags, exit statuses, and nothing heavy in front."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, example, given, strategies

from sweeper.cli.commands import VERBS
from sweeper.cli.main import arguments
from sweeper.errors import BadInput
from sweeper.results import formatting
from tests import tiny

HEAVY = (
    "torch",
    "transformers",
    "llmcompressor",
    "lm_eval",
    "mlflow",
    "pandas",
    "matplotlib",
    "numpy",
    "scipy",
    "datasets",
    "submitit",
    "pyarrow",
    "huggingface_hub",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return tiny.text(tmp_path_factory.mktemp("text") / "text.txt")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Of this user: what planning looked up once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def isorate(tmp_path, model, text, cache):
    """Runs the console command in a fresh process against a home below tmp_path."""

    def run(*words, home=tmp_path / "home", tail=True, env=None, **kwargs):
        own = [
            f"home={home}",
            "model=custom",
            f"model.id={model}",
            "model.group_size=32",
            f"calibration.path={text}",
            "calibration.samples=4",
            "calibration.length=32",
        ]
        verb = [word for word in words[:1] if word in VERBS]
        rest = words[len(verb) :]
        command = [sys.executable, "-m", "sweeper", *verb, *(own if tail else []), *rest]
        environment = os.environ | {"XDG_CACHE_HOME": str(cache)} | (env or {})
        return subprocess.run(command, capture_output=True, text=True, env=environment, **kwargs)

    return run


def refused(done, *parts):
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr
    return done.stderr


def test_the_verb_is_sugar_for_an_action():
    assert arguments(["plan", "a=1"]) == ["action=plan", "a=1"]
    assert arguments(["a=1"]) == ["a=1"]
    assert arguments(["--help"]) == ["--help"]
    assert arguments(["+x=1"]) == ["+x=1"]
    assert arguments([]) == ["--help"]


@given(name=strategies.text(strategies.characters(codec="utf-8", exclude_characters="\n\r\0$")))
@example(name="it's.zip")
@example(name="a\\'b\\")
@example(name="home, [1] (2)")
def test_a_plain_word_is_the_value_whatever_is_in_it(name):
    assume(name and not name.startswith("-") and not re.match(r"[+~]*[A-Za-z_][\w./@:]*=", name))
    word = arguments(["verify", "a.zip", name, "output=json"])[1]
    assert OverridesParser.create().parse_override(word).value() == ["a.zip", name]


def test_a_bundle_is_named_by_a_plain_word():
    assert arguments(["bundle", "demo", "home=x"]) == ["action=bundle", "name='demo'", "home=x"]
    assert arguments(["verify", "a.zip", "b.zip"]) == ["action=verify", "bundles=['a.zip','b.zip']"]
    with pytest.raises(BadInput, match="`bundle` takes one"):
        arguments(["bundle", "one", "two"])


def test_an_unknown_verb_is_refused_with_the_valid_ones():
    with pytest.raises(BadInput, match="verb=plam: valid: run, plan, status"):
        arguments(["plam"])


def test_cfg_shows_the_first_cell_of_a_sweep():
    assert arguments(["plan", "quant.bits=8,4", "--cfg", "job"])[1] == "quant.bits=8"
    assert arguments(["--cfg", "job", "quant.bits=range(2,5)"])[2] == "quant.bits=2"


def test_the_front_end_imports_nothing_heavy(tmp_path):
    code = (
        "import sys\nfrom sweeper.cli.main import main\n"
        "sys.argv = ['isorate', 'plan', 'experiment=laborde2025', 'output=json', "
        f"'home={tmp_path}']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        f"found = [m for m in {HEAVY} if m in sys.modules]\n"
        "sys.exit(f'imported: {found}' if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_plan_is_one_json_document_and_touches_nothing(isorate, tmp_path):
    home = tmp_path / "home"
    done = isorate("plan", "experiment=grid", "output=json", home=home)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert len(plan["cells"]) == 45
    assert len(plan["dropped"]) + len(plan["merged"]) == 125 - 45
    assert all(item["reason"] for item in plan["dropped"])
    assert len({cell["key"] for cell in plan["cells"]}) == 45
    assert len({cell["label"] for cell in plan["cells"]}) == 45
    assert plan["stages"]["by_kind"] == {
        "prune": 8,
        "quantize": 36,
        "measure": 45,
        "evaluate": 45 * 5,
    }
    assert not home.exists()


@pytest.mark.parametrize("words", [("plan", "quant.bits=8,4", "--cfg", "job"), ("--cfg", "job")])
def test_hydras_own_cfg(isorate, words):
    done = isorate(*words)
    assert done.returncode == 0, done.stderr
    assert "sparsity:" in done.stdout


def test_help_lists_verbs_and_choices(isorate):
    done = isorate("--help", tail=False)
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in VERBS)
    assert "laborde2025" in done.stdout


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("isorate pl", ["plan"]),
        ("isorate plan prune=", ["prune=none", "prune=sparsegpt"]),
        ("isorate quant=", ["quant=gptq", "quant=none"]),
        ("isorate plan quant.b", ["quant.bits=", "quant.block_size="]),
    ],
)
def test_tab_completion_with_and_without_a_verb(isorate, line, expected):
    done = isorate("-sc", "query=bash", tail=False, env={"COMP_LINE": line})
    assert done.returncode == 0, done.stderr
    assert set(expected) <= set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["prune.sparsity=2500"], ["prune.sparsity=2500", "percentage", "mean 25"]),
        (["prune.sparsity=-3"], ["prune.sparsity=-3"]),
        (["prune.sparsity=0.25"], ["did you mean 25?"]),
        (["prune.pattern=3:2"], ["prune.pattern=3:2", "2:3"]),
        (["quant.bits=5"], ["quant.bits=5", "valid: 2, 3, 4, 8"]),
        (["quant.bits=4,5"], ["quant.bits=5", "valid: 2, 3, 4, 8"]),
        (["quant.bits=four"], ["isorate: ", "quant.bits", "four"]),
        (["quant.bits=4,four"], ["isorate: ", "quant.bits", "four"]),
        (["tasks.names=[demo_agreemant]"], ["tasks.names", "demo_agreement"]),
        (["prune=wandaa"], ["prune", "sparsegpt"]),
        (["prune.sparsty=25"], ["sparsty", "prune.sparsity"]),
        (["nonsense=1"], ["nonsense", "valid:", "prune"]),
        (["quant.bits=4", "quant.group_size=48"], ["quant.group_size=48"]),
        (["quant.bits=4", "calibration.samples=100000"], ["calibration.samples", "bytes"]),
        (["quant.bits=4", "calibration.samples=300"], ["calibration.samples", "only", "tokens"]),
        (["model.id=/nowhere"], ["model.id=/nowhere", "checkpoint directory"]),
        (["prune.sparsity=25", "prune=none"], ["prune.method=none"]),
        (["prune.pattern=2:8,1:4", "prune.sparsity=50"], ["no cell is left", "fixes the sparsity"]),
        (["output=xml"], ["output=xml", "valid: text, json"]),
        (["name=../up"], ["name=../up"]),
        (["home=a,b"], ["axes of a grid"]),
        (["experiment=demo", "quant.bits=4"], ["quant.bits", "lists its own cells"]),
    ],
)
def test_bad_input_is_refused_before_anything_starts(isorate, tmp_path, words, parts):
    text = refused(isorate("run", *words)).lower()
    for part in parts:
        assert part.lower() in text, text
    assert not (tmp_path / "home" / "sweeps").exists()


def test_a_file_that_is_no_checkpoint(isorate, tmp_path):
    (tmp_path / "empty").mkdir()
    done = isorate(
        "run",
        "model=custom",
        f"model.id={tmp_path / 'empty'}",
        f"home={tmp_path / 'h'}",
        tail=False,
    )
    refused(done, "model.id", "config.json")


def test_a_home_that_cannot_be_written(isorate, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    refused(isorate("run", home=Path(blocked) / "home"), "home", "cannot be written")


def test_unknown_sweeps_are_named_with_those_that_exist(isorate):
    refused(isorate("status", "name=nothing"), "name=nothing", "no such sweep")


def test_a_key_without_a_value_is_named(isorate, tmp_path):
    for verb in ("plan", "run"):
        done = isorate(verb, "model=custom", f"home={tmp_path / 'h'}", tail=False)
        assert "model.id: it has no default" in refused(done), done.stderr


def test_what_is_retried_was_run_before(isorate, tmp_path):
    refused(isorate("retry", "name=nothing"), "name=nothing", "no such sweep")
    folder = tmp_path / "home" / "sweeps" / "other"
    folder.mkdir(parents=True)
    record = {
        "name": "other",
        "created": "2026-01-01",
        "overrides": ["quant.bits=4"],
        "checkpoints": "drop",
        "cells": [],
        "stages": {},
    }
    (folder / "plan-1.json").write_text(json.dumps(record))
    refused(isorate("retry", "name=other", "quant.bits=3"), "not the cells", "quant.bits=4")
    assert "quant.bits=4" in isorate("list").stdout


@pytest.mark.parametrize("paper", ["jsq", "mpt"])
def test_the_other_papers_need_no_sweep(isorate, tmp_path, paper):
    """As docs/methods.md writes it, in a home that has none."""
    done = isorate("reproduce", f"only={paper}", f"home={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "|" in done.stdout


def test_sizes_never_have_an_exponent():
    for count in (999.4e6, 999.6e6, 1e9, 999.999, 12.3e12):
        assert "e+" not in formatting.size(count)
    assert formatting.size(999.6e6) == "1 GB"
