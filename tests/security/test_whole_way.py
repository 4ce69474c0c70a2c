"""Hostile names and planted credentials through a whole sweep: plan, run, logs, report, MLflow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import tally, whole
from tests.security.pages import Page

CANARIES = {
    "HF_TOKEN": "canary-0815-token",
    "MLFLOW_TRACKING_PASSWORD": "canary-0815-password",
    "AWS_SECRET_ACCESS_KEY": "canary-0815-aws",
}
NAME = "\"'<script>alert(1)</script>$(touch pwned)`touch pwned`&;|\\../..\u00e9\u2603 " + "x" * 300

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def test_a_sweep_with_a_hostile_name_and_planted_secrets(tmp_path: Path) -> None:
    home = tmp_path / "a home with 'quotes' and $(touch pwned)"
    choices = tmp_path / "choices" / "model"
    choices.mkdir(parents=True)
    model = whole.model(tmp_path / "model $(touch pwned)")
    quoted = NAME.replace("'", "''")
    (choices / "hostile.yaml").write_text(
        f"name: '{quoted}'\nid: '{model}'\ngroup_size: 32\n", encoding="utf-8"
    )
    taken = ("model=", "model.", "home=")
    overrides = [w for w in whole.words(home, model) if not w.startswith(taken)]
    config = [f"--config-dir={tmp_path / 'choices'}", "model=hostile"]
    env = CANARIES | {"ISORATE_HOME": str(home)}
    for verb in ("plan", "run", "status", "sync", "gc"):
        done = whole.isorate(verb, [*overrides, *config], env=env, cwd=tmp_path)
        assert done.returncode == 0, f"{verb}: {done.stderr}"
        assert "canary" not in done.stdout + done.stderr
    done = whole.isorate("logs", [*overrides, *config, "cell=dense"], env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("pwned"))
    held = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert b"canary" not in held
    page = Page((home / "sweeps" / "whole" / "report" / "report.html").read_text(encoding="utf-8"))
    assert page.loaded == []
    assert not [text for text in page.scripts if "alert(1)" in text.replace("\\u003cscript", "")]
    assert "<script>alert(1)</script>" in page.shown, "the name is shown as it is, escaped"
    assert set(whole.tracked(home)) == {*whole.LABELS, "whole"}
    tally.survived("a hostile name through the whole way", 6)
