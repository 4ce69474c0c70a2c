"""Documents that are drawn; those of the family are taken over, the others are counted."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.parquet

from sweeper.stages import Job
from tests.stubs import race

FILE = "documents.parquet"


def run(job: Job) -> dict[str, Any]:
    task, what = job.params["task"], race.made(job)
    _meet_its_end(job, what)
    known = {row["doc_id"] for folder in job.kin for row in _rows(folder)}
    wanted = race.order(task)[: job.params["limit"]]
    for document in wanted:
        if document not in known:
            race.note(os.environ.get("RACE_JOURNAL"), f"{what}-{task}")
    time.sleep(float(os.environ.get("RACE_SECONDS", "0")))
    rows = [_row(task, what, place, document) for place, document in enumerate(wanted)]
    table = pyarrow.Table.from_pylist(sorted(rows, key=lambda row: row["doc_id"]))
    pyarrow.parquet.write_table(table, job.out / FILE)
    scores = numpy.array([row["acc"] for row in rows])
    entry = {
        "value": float(scores.mean()),
        "stderr": float(scores.std(ddof=1) / len(scores) ** 0.5),
        "n": len(scores),
        "higher_is_better": True,
    }
    return {
        "task": task,
        "version": 1,
        "primary": "acc",
        "metrics": {"acc": entry},
        "chance": 0.25,
        "collapsed": False,
        "stopped": False,
        "n_docs": len(rows),
        "adopted": len(known),
        "seconds": 0.01 * len(rows),
        "device": "cpu",
    }


def _row(task: str, what: str, place: int, document: int) -> dict[str, Any]:
    return {
        "doc_id": document,
        "doc_hash": f"{task}-{document}",
        "prompt_hash": f"{task}-{document}",
        "target_hash": "t",
        "position": place,
        "block": place // 64,
        "prediction": "0",
        "acc": float(race.right(what, task, document)),
    }


def _rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pyarrow.parquet.read_table(folder / FILE).to_pylist()
    return found


def _meet_its_end(job: Job, what: str) -> None:
    """Be killed, where the environment says so: once for each evaluation."""
    if what in os.environ.get("RACE_KILL", "").split(",") and not job.params.get("part"):
        once = job.scratch / "killed"
        if job.params["limit"] != 128 and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
