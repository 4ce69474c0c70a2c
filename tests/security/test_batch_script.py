"""A batch script made of hostile values, carried out by a real shell: nothing of them is run."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.launchers.fake_slurm import FakeSlurm, program
from tests.launchers.slurm_rig import SlurmRig

HOSTILE = "a 'b' \"c\" $(touch pwned) `touch pwned`; touch pwned & é " + "x" * 60
SRUN = program("""import json, sys
json.dump(sys.argv[1:], open("ran", "w"))
""")


def test_no_value_of_the_configuration_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm = FakeSlurm(tmp_path / "slurm")
    slurm.set(assoc=f"{HOSTILE}|{HOSTILE}")  # one that does not exist is refused
    (slurm.root / "bin" / "srun").write_text(SRUN)
    path = f"{slurm.root / 'bin'}:{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    rig = SlurmRig(tmp_path / HOSTILE)
    given = dict.fromkeys(("account", "comment", "constraint", "qos"), HOSTILE)
    rig.run([rig.make("$(touch pwned)")], additional_parameters={"mail-user": HOSTILE}, **given)
    scripts = sorted((rig.sweep.path / "jobs").glob("*/*_submission.sh"))
    assert len(scripts) == 2
    for script in scripts:
        text = script.read_text()
        assert text.count("touch pwned") > len(given)
        work = tmp_path / script.stem
        work.mkdir()
        done = subprocess.run(["bash", str(script)], cwd=work, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        ran = json.loads((work / "ran").read_text())
        assert ran[-2:] == ["launchers.slurm.job.entrypoint", str(script.parent)]
        assert [p.name for p in work.iterdir()] == ["ran"]
    assert not list(tmp_path.rglob("pwned"))
