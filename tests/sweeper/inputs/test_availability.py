"""What a plan lacks on a machine without a network, and pins that planning keeps to."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sweeper.cli.commands import prefetch
from sweeper.errors import BadInput, IsorateError
from sweeper.inputs import access, availability, hub_cache, pins
from sweeper.inputs.pins import Pins
from sweeper.inputs.tasks import catalog as tasks
from sweeper.inputs.tasks import dependencies
from sweeper.planning import builder
from sweeper.planning.sweep import cell_json
from sweeper.worker import prefetch as prefetchs
from tests.composing import composed

OLD, NEW = "a" * 40, "b" * 40
DATA = "TIGER-Lab/MMLU-Pro"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where lm-eval's names are kept, for all tests of this module."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub with nothing in it, and no token."""
    for name in [name for name in os.environ if name.startswith("HF_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(index))
    return tmp_path / "hf"


def model_in(cache: Path, name: str = "org/model", commit: str = OLD) -> None:
    folder = cache / "hub" / f"models--{name.replace('/', '--')}"
    (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "snapshots" / commit / "config.json").write_text("{}")
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(commit)


def prepare(name: str, commit: str, **options: Any) -> None:
    """What `datasets` leaves behind."""
    where = hub_cache.prepared(name, commit, options)
    made = where / name.replace("/", "___") / "default/0.0.0" / commit
    made.mkdir(parents=True)
    (made / "dataset_info.json").write_text("{}")


def stage(kind: str = "evaluate", sources: Any = None, **params: Any) -> dict[str, Any]:
    return {"kind": kind, "params": {"model": {}, **params}, "sources": sources or {}}


def of_model(revision: str = "main") -> dict[str, Any]:
    meaning = {"id": "org/model", "revision": revision}
    return stage("measure", {"model": "org/model"}, model=meaning)


def test_a_model_that_is_not_here_is_named_once(cache: Path) -> None:
    (lack,) = availability.missing([of_model(), of_model()])
    assert str(lack) == "model.id=org/model: it is not on this machine"
    assert (lack.kind, lack.repository) == ("models", "org/model")
    model_in(cache)
    assert availability.missing([of_model(), of_model(OLD)]) == []


def test_a_pinned_revision_that_moved_is_said(cache: Path) -> None:
    model_in(cache)
    (lack,) = availability.missing([of_model(NEW)])
    assert lack.reason == f"it is pinned to {NEW[:12]}, but this machine has {OLD[:12]}"


def test_a_task_lacks_its_data_set_at_the_pinned_revision() -> None:
    pinned = stage(task="mmlu_pro_math", data_revisions={DATA: OLD})
    (lack,) = availability.missing([pinned])
    assert str(lack) == f"tasks.names=mmlu_pro_math: its data set {DATA} is not on this machine"
    prepare(DATA, OLD)
    assert availability.missing([pinned]) == []
    assert availability.missing([stage(task="mmlu_pro_math", data_revisions={DATA: NEW})])


def test_a_task_without_pins_needs_its_data_set_at_any_revision(cache: Path) -> None:
    plain = stage(task="mmlu_pro_math")
    assert [lack.repository for lack in availability.missing([plain])] == [DATA]
    made = cache / "datasets/TIGER-Lab___mmlu-pro/default/0.0.0" / OLD
    begun = made.with_name(f"{OLD}.incomplete")
    begun.mkdir(parents=True)
    (begun / "dataset_info.json").write_text("{}")
    assert availability.missing([plain])  # begun, not finished
    made.mkdir()
    (made / "dataset_info.json").write_text("{}")
    assert availability.missing([plain]) == []


def test_a_task_of_our_own_needs_nothing() -> None:
    folder = str(tasks.SHIPPED)
    assert availability.missing([stage(task="demo_pydoc", sources={"tasks": folder})]) == []


def test_calibration_text_is_looked_for_as_it_is_loaded() -> None:
    text = {"id": "allenai/c4", "revision": OLD, "data_files": "a.json"}
    assert availability.missing([stage("prune", calibration=text)])
    prepare("allenai/c4", OLD, data_files="b.json")
    assert availability.missing([stage("prune", calibration=text)])
    prepare("allenai/c4", OLD, data_files="a.json")
    assert availability.missing([stage("prune", calibration=text)]) == []


def test_offline_everything_that_lacks_is_refused_at_once(monkeypatch: Any) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    stages = [of_model(), stage(task="arc_easy"), stage("prune", {"gguf": "/no/such.gguf"})]
    with pytest.raises(BadInput, match=r"model.id=org/model: it is not .* switched off") as refused:
        availability.before_submission(stages, pinned=False)
    assert "tasks.names=arc_easy: its data set allenai/ai2_arc" in str(refused.value)
    assert "gguf=/no/such.gguf" in str(refused.value)
    assert "isorate prefetch" in str(refused.value)


def test_a_prefetched_sweep_switches_the_hub_off(cache: Path, monkeypatch: Any) -> None:
    for name in hub_cache.OFFLINE:
        monkeypatch.setenv(name, "0")
    model_in(cache)
    availability.before_submission([of_model()], pinned=False)
    assert not hub_cache.is_offline()
    availability.before_submission([of_model()], pinned=True)
    assert hub_cache.is_offline()


def test_a_data_set_of_many_tasks_is_asked_for_once(monkeypatch: Any) -> None:
    asked: list[tuple[str, str, str]] = []
    monkeypatch.setattr(access, "check", lambda *what: asked.append(what))
    stages = [stage(task="mmlu_pro_math"), stage(task="mmlu_pro_law"), of_model()]
    availability.before_submission(stages, pinned=False)
    assert asked == [("tasks.names", "datasets", DATA), ("model.id", "models", "org/model")]


def test_a_fetching_process_that_dies_at_once_is_told(tmp_path: Path, monkeypatch: Any) -> None:
    """Before it has read what it is asked for: a broken pipe here would pass for no reader."""
    dead = tmp_path / "python"
    dead.write_text("#!/bin/sh\nexit 3\n")
    dead.chmod(0o755)
    monkeypatch.setattr(prefetch.sys, "executable", str(dead))
    more_than_a_pipe_holds = [{"kind": "task", "name": "x" * 200_000}]
    with pytest.raises(IsorateError, match="ended with status 3"):
        list(prefetch._process(more_than_a_pipe_holds, Pins(), offline=False))


def test_pins_are_whole_or_absent_and_new_ones_win(tmp_path: Path) -> None:
    assert not pins.read(tmp_path)
    old = Pins(models={"org/model@main": OLD}, tasks={"one": {DATA: OLD}, "own": {}})
    pins.write(tmp_path, old, {"created": "now"})
    assert pins.read(tmp_path) == old
    both = old | Pins(tasks={"one": {DATA: NEW}})
    assert both.tasks == {"one": {DATA: NEW}, "own": {}}
    assert both.model("org/model", "main") == OLD
    assert both.model("org/model", "v2") is None
    assert [path.name for path in tmp_path.iterdir()] == [pins.NAME]
    (tmp_path / pins.NAME).write_text(json.dumps({"format": 99}))
    with pytest.raises(BadInput, match="another version of Isorate"):
        pins.read(tmp_path)


def test_a_pinned_plan_has_keys_of_its_own(cache: Path, tmp_path: Path) -> None:
    model_in(cache, commit=OLD)
    model_in(cache, commit=NEW)  # what main is now
    words = [
        "model.format=hf",
        "model.id=org/model",
        "model.package=null",
        "quant=none",
        "prune=none",
        "tasks.names=[arc_easy,demo_pydoc]",
    ]
    held = Pins(models={"org/model@main": OLD}, tasks={"arc_easy": {"allenai/ai2_arc": OLD}})
    with composed([]) as (config, loader):
        (loose,) = builder.plan(config, loader, words).cells
        (fixed,) = builder.plan(config, loader, words, held).cells
    assert loose.stages["measure"].params["model"]["revision"] == NEW
    assert fixed.stages["measure"].params["model"]["revision"] == OLD
    gone = Pins(models={"org/model@main": "c" * 40})
    with composed([]) as (config, loader):
        (elsewhere,) = builder.plan(config, loader, words, gone).cells
    assert elsewhere.stages["measure"].params["model"]["revision"] == "c" * 40
    assert fixed.tasks["arc_easy"].params["data_revisions"] == {"allenai/ai2_arc": OLD}
    assert "data_revisions" not in fixed.tasks["demo_pydoc"].params
    assert fixed.tasks["arc_easy"].key != loose.tasks["arc_easy"].key


def test_limits_of_single_tasks_win(cache: Path) -> None:
    words = ["tasks.limit=7", "tasks.names=[arc_easy,mmlu_pro,demo_pydoc]"]
    with composed([]) as (config, loader):
        limited = [*words, "+tasks.limits.mmlu_pro=1"]
        (cell,) = builder.plan(config, loader, [*limited, "quant.bits=16"]).cells
        with pytest.raises(BadInput, match=r"tasks.limits.mmlu=1: valid: arc_easy, mmlu_pro"):
            builder.plan(config, loader, [*words, "+tasks.limits.mmlu=1", "quant.bits=16"])
    limits = {name: stage.params["limit"] for name, stage in cell.tasks.items()}
    assert limits["mmlu_pro_math"] == 1
    assert limits["arc_easy"] == limits["demo_pydoc"] == 7


@pytest.mark.parametrize(
    ("suite", "alone", "grouped", "among"),
    [
        (
            "laborde2025",
            0,
            {"mmlu_pro": 14, "bbh_cot_fewshot": 27, "minerva_math": 7},
            "bbh_cot_fewshot_navigate",
        ),
        ("jsq2024", 8, {"mmlu": 57}, "mmlu_anatomy"),
        ("mpt", 5, {"mmlu": 57}, "ptb_ppl2048"),
        ("small", 5, {}, "lambada_openai"),
    ],
)
def test_every_suite_can_be_planned(
    suite: str, alone: int, grouped: dict[str, int], among: str
) -> None:
    with composed([]) as (config, loader):
        (cell,) = builder.plan(config, loader, [f"tasks={suite}", "quant.bits=16"]).cells
    assert len(cell.tasks) == alone + sum(grouped.values())
    assert {name: len(tasks) for name, tasks in cell.groups.items()} == grouped
    assert cell_json(cell)["config"].get("groups", {}) == cell.groups
    assert among in cell.tasks


def test_a_task_that_nothing_ranks_is_refused(tmp_path: Path, index: Path) -> None:
    head = "task: mine\noutput_type: generate_until\ndataset_path: json\n"
    file = tmp_path / "mine.yaml"
    file.write_text(head + "metric_list: [{metric: charm, aggregation: mean}]\n")
    with pytest.raises(BadInput, match=r"mine: it has no metric that can rank models \(charm\)"):
        tasks.resolve(["mine"], tmp_path, cache_dir=index)
    file.write_text(head + "metric_list: [{metric: charm, higher_is_better: true}]\n")
    assert tasks.resolve(["mine"], tmp_path, cache_dir=index)


def test_code_that_needs_what_is_not_installed_is_refused(tmp_path: Path, index: Path) -> None:
    code, file = tmp_path / "helper.py", tmp_path / "mine.yaml"
    file.write_text("task: mine\nprocess_docs: !function helper.docs\n")
    code.write_text("try:\n    import nowhere_b\nexcept ImportError:\n    pass\n")
    assert tasks.resolve(["mine"], tmp_path, cache_dir=index)
    for text in (
        "import nowhere_a\n",
        "try:\n    import nowhere_a\nexcept ImportError:\n    raise\n",
    ):
        dependencies._imports.cache_clear()
        code.write_text(text)
        with pytest.raises(BadInput, match=r"nowhere_a, .*pip install nowhere-a"):
            tasks.resolve(["mine"], tmp_path, cache_dir=index)


def test_the_extra_that_brings_a_package_is_named() -> None:
    assert dependencies.install("immutabledict") == 'pip install "lm-eval[ifeval]"'
    assert dependencies.install("sklearn") == "pip install scikit-learn"


def hub_error(name: str) -> Exception:
    import httpx
    from huggingface_hub import errors

    request = httpx.Request("GET", "http://127.0.0.1/x")
    words = "If you are trying to access a private or gated repo, make sure you are authenticated."
    error: Exception = getattr(errors, name)(words, response=httpx.Response(403, request=request))
    return error


def test_a_gated_model_without_a_token_is_said_and_no_token_is_told(monkeypatch: Any) -> None:
    refusal = access.refused("model.id", "org/gated", hub_error("GatedRepoError"))
    assert "gated" in str(refusal)
    assert "HF_TOKEN is unset" in str(refusal)
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    refusal = access.refused("model.id", "org/gated", hub_error("GatedRepoError"))
    assert "has no access" in str(refusal)
    assert "hf_verysecret" not in str(refusal)


@pytest.mark.parametrize(
    ("error", "words"),
    [("RepositoryNotFoundError", "nothing of that name"), ("RevisionNotFoundError", "no such rev")],
)
def test_what_the_hub_has_not_is_said(error: str, words: str) -> None:
    assert words in str(access.refused("model.id", "org/model", hub_error(error)))


def test_a_gated_data_set_is_told_from_one_that_does_not_exist() -> None:
    error = ValueError("Dataset 'org/data' is a gated dataset on the Hub.")
    assert "gated" in str(access.refused("tasks.names", "mine", error))


def test_an_error_of_another_kind_is_nobody_elses() -> None:
    assert access.refused("model.id", "org/model", ValueError("gone")) is None


def test_a_full_disk_is_one_message() -> None:
    need = {"kind": "model", "id": "org/model"}
    error = RuntimeError("download failed")
    error.__cause__ = OSError(28, "No space left on device")
    message = prefetchs._explained(need, error)["message"]
    assert "no space left on the disk of" in message
    assert "HF_HOME" in message
    with pytest.raises(OSError, match="11 bytes are needed and 10 are free"):
        prefetchs._check_room(11, 10)
    prefetchs._check_room(10, 10)


def test_a_failure_never_shows_a_token(monkeypatch: Any) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    error = ValueError("bad header Bearer hf_verysecret")
    assert "hf_verysecret" not in str(prefetchs._explained({}, error))
