"""Hostile names and planted credentials through a whole sweep: plan, run, logs, report, MLflow."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.faults import tally, whole

CANARIES = {
    "HF_TOKEN": "canary-0815-token",
    "MLFLOW_TRACKING_PASSWORD": "canary-0815-password",
    "AWS_SECRET_ACCESS_KEY": "canary-0815-aws",
}
NAME = "\"'<script>alert(1)</script>$(touch pwned)`touch pwned`&;|\\../..\u00e9\u2603 " + "x" * 300
LOADING = {"script", "link", "img", "iframe", "object", "embed", "video", "audio", "source"}

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


class Loads(HTMLParser):
    """What a page would load or run from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.shown = ""
        self.scripts: list[str] = []
        self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        for name, value in attrs:
            outside = (value or "").startswith(("http:", "https:", "//"))
            loads = outside and tag in LOADING and name in ("src", "href", "data")
            if loads or name.startswith("on"):
                self.found.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        if self._tag == "script":
            self.scripts.append(data)
        else:
            self.shown += data


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
    page = Loads((home / "sweeps" / "whole" / "report" / "report.html").read_text(encoding="utf-8"))
    assert page.found == []
    assert not [text for text in page.scripts if "alert(1)" in text.replace("\\u003cscript", "")]
    assert "<script>alert(1)</script>" in page.shown, "the name is shown as it is, escaped"
    assert set(whole.tracked(home)) == {*whole.LABELS, "whole"}
    tally.survived("a hostile name through the whole way", 6)
