"""Canaries: no credential in records, logs, tracebacks or plans."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from launchers.slurm.resources.requests import Requests
from sweeper.errors import BadInput, IsorateError, StageFailure
from sweeper.planning.plan import Plan
from sweeper.planning.sweep import Sweep
from sweeper.redaction import Formatter, secret_set_by
from sweeper.store.store import Store
from sweeper.worker.failure import explain
from sweeper.worker.runner import Bench, run_stage
from tests.stubs.stages import spec

CANARY = "canary-4711-hf-token"
URI = "postgresql://ann:canary-4711-password@host/mlflow"


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "canary-4711-mlflow")


def held(root: Path) -> bytes:
    return b"".join(p.read_bytes() for p in root.rglob("*") if p.is_file())


def leaking(error: type[Exception]) -> Bench:
    def run(job: Any) -> None:
        raise error(f"cannot read https://h/m?token={CANARY} as canary-4711-mlflow from {URI}")

    return Bench(find=lambda _: run)


def test_a_recorded_failure_holds_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(StageFailure):
        run_stage(spec(name="a"), store, leaking(StageFailure))
    assert b"canary" not in held(tmp_path)
    assert "cannot read" in str(store.failure(spec(name="a")))


def test_the_end_of_an_attempt_tells_none(tmp_path: Path) -> None:
    try:
        raise OSError(f"no answer from {URI} with {CANARY}")
    except OSError as error:
        ending = str(explain(error, tmp_path).as_json())
    assert "no answer" in ending
    assert "canary" not in ending


def test_a_log_with_a_traceback_holds_none() -> None:
    try:
        raise ValueError(f"{CANARY} {URI}")
    except ValueError as error:
        record = logging.LogRecord(
            "x", logging.ERROR, "f", 1, "failed at %s", (URI,), (ValueError, error, None)
        )
    text = Formatter().format(record)
    assert "failed at" in text
    assert "canary" not in text


def test_a_recorded_plan_holds_none(tmp_path: Path) -> None:
    plan = Plan(cells=(), stages={}, dropped=(), merged=())
    Sweep(tmp_path, "sweep").record(plan, [f"tracking.uri={URI}", f"x={CANARY}"], "drop")
    assert b"tracking.uri=postgresql" in held(tmp_path)
    assert b"canary" not in held(tmp_path)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("export HF_TOKEN=hf_abc", "HF_TOKEN"),
        ("module load x; MLFLOW_TRACKING_PASSWORD='abc' true", "MLFLOW_TRACKING_PASSWORD"),
        ("export HF_TOKEN=$(cat ~/.token)", None),
        ("export HF_HOME=/scratch/hf", None),
        ("module load cuda", None),
    ],
)
def test_a_setup_line_that_sets_a_secret(line: str, name: str | None) -> None:
    assert secret_set_by(line) == name


def requests(**base: Any) -> Requests:
    return Requests(base, {}, [])


def test_a_secret_in_a_batch_script_is_refused_without_repeating_it() -> None:
    with pytest.raises(BadInput, match="HF_TOKEN") as refused:
        requests(setup=[f"export HF_TOKEN={CANARY}"])
    assert CANARY not in str(refused.value)
    requests(setup=["module load cuda", "export HF_TOKEN=$(cat ~/.token)"])


@pytest.mark.parametrize("name", ["partition", "account", "comment", "constraint", "nodelist"])
def test_a_value_with_a_line_break_never_reaches_a_script(name: str) -> None:
    """Even quoted, it would end the comment that an #SBATCH line is."""
    with pytest.raises(BadInput, match=f"{name}=.*single line"):
        requests(**{name: "gpu\ntouch pwned"})
    requests(**{name: "gpu a'b $(x)"})


@pytest.mark.parametrize("how", ["open", "link"])
def test_a_job_directory_that_others_may_enter_is_refused(how: str, tmp_path: Path) -> None:
    from sweeper.store import files

    folder = tmp_path / "jobs" / "one"
    files.private(folder)
    files.private(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    if how == "open":
        folder.chmod(0o770)
    else:
        folder.rename(tmp_path / "elsewhere")
        folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IsorateError, match="chmod 700"):
        files.private(folder)
