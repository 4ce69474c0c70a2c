"""Standard output has the answer alone, whatever libraries and children print meanwhile."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stdout

from sweeper.cli import standard_output
from sweeper.cli.commands import export
from sweeper.worker.rebuild import Missing
from tests.stubs.stages import spec

NOISY = """
import logging, os, subprocess, sys
held = logging.StreamHandler(sys.stdout)  # as a library does when it is imported
from sweeper.cli.commands import gc as verb
quiet = verb.perform

def perform(request):
    print("from print")
    held.emit(logging.makeLogRecord({"msg": "from a logger"}))
    os.write(1, b"from C\\n")
    subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
    return quiet(request)

verb.perform = perform
from sweeper.cli.main import main
sys.argv = ["isorate", "gc", *sys.argv[1:]]
main()
"""
SAID = ("from print", "from a logger", "from C", "from a child")


def noisy(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", NOISY, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_answer_is_all_that_standard_output_gets(tmp_path) -> None:
    done = noisy(f"home={tmp_path}", "output=json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["deleted"] == []
    assert all(word in done.stderr for word in SAID)


def test_a_stream_that_is_no_file_takes_the_answer_too() -> None:
    with redirect_stdout(io.StringIO()) as own:
        with standard_output.reserved() as answer:
            print("noise")
            print("answer", file=answer)
        print("after")
    assert own.getvalue() == "answer\nafter\n"


def test_an_export_says_what_it_builds() -> None:
    stages = (spec("convert"), spec("quantize"))
    assert export.announcement("4bit", Missing((), None)) == ""
    assert export.announcement("4bit", Missing(stages, 80.4)).endswith(
        "building it for this export: convert, quantize, about 1 min 20 s"
    )
    assert export.announcement("4bit", Missing(stages, None)).endswith("convert, quantize")
