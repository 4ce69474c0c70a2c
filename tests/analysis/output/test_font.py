"""The reduced typeface of the figures: what it has, what it leaves to the full one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from analysis.output.figure import canvas, finished
from analysis.output.font import FULL, NAME, families


def _drawn(text: str):
    with canvas(3, 2) as (drawing, (axes,)):
        axes.set(xticks=[], yticks=[], title=text)
        return finished(drawing, "words", "model", "")


@pytest.mark.parametrize("text", ["25% + 4bit ± 0.1 × √2", "Größe, α ≤ β → «–»"])
def test_what_reports_write_is_in_it(text) -> None:
    svg, pdf = _drawn(text).svg.decode(), _drawn(text).pdf
    assert "IsorateSans-" in svg
    assert "DejaVuSans-" not in svg
    assert b"IsorateSans" in pdf
    assert b"/CIDFontType2" in pdf or b"/TrueType" in pdf  # type 42: text that journals take
    assert b"/Type3" not in pdf


def test_other_letters_come_from_the_full_font() -> None:
    assert "DejaVuSans-" in _drawn("Модель").svg.decode()


def test_its_file_is_gone_with_the_process_that_made_it(tmp_path) -> None:
    code = (
        "import os; from analysis.output.font import families; print(families(), flush=True);"
        "pid = os.fork();"
        "pid or exit(); os.waitpid(pid, 0);"
        "from pathlib import Path; print(len(list(Path(os.environ['TMPDIR']).glob('*.ttf'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={
            "TMPDIR": str(tmp_path),
            "PATH": "",
            "MPLCONFIGDIR": str(tmp_path),
            "PYTHONPATH": str(Path(__file__).parents[3]),
        },
    )
    assert done.stdout.splitlines() == [str([NAME, FULL]), "1"]  # after its child has left
    assert list(tmp_path.glob("*.ttf")) == []
    assert families() == [NAME, FULL]
