"""An attempt on a compute node, described: where it runs, what it took, how it ended."""

from __future__ import annotations

import os
import re
import socket
import time
from dataclasses import dataclass
from typing import Any, cast

from launchers.slurm import records
from launchers.slurm.cluster.commands import SlurmError, run
from sweeper.planning.sweep import Sweep
from sweeper.store import files
from sweeper.store.manifest import Facts, SlurmFacts
from sweeper.store.process_id import new_id
from sweeper.store.store import Spec
from sweeper.worker.metering import peak_rss_bytes

Json = dict[str, Any]

_DETAIL = re.compile(r"GRES=(?:\S*,)?gpu:(?P<type>[^:=\s(,]+):\d")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an attempt runs, as SLURM tells.

    Attributes:
        job: SLURM's id: "12", "12_3".
        restart: how often the job was started again.
        node, partition: their names.
        gpus: how many the job has on this node.
        in_slurm: whether SLURM has started it.
        again: how often this very execution of the job has tried the stage before.
        gpu_type: what the site calls them ("a100"); "" if there are none, or it has no name.
    """

    job: str
    restart: int
    node: str
    partition: str
    gpus: int
    gpu_type: str = ""
    in_slurm: bool = True
    again: int = 0

    @property
    def execution(self) -> tuple[str, int]:
        """What tells one execution of a job from others."""
        return self.job, self.restart

    @classmethod
    def anywhere(cls) -> Place:
        """This process's place, whatever has started it; a process has one attempt after another.

        Its ``job`` then names host and process.
        """
        if "SLURM_JOB_ID" in os.environ:
            return cls.here()
        node = socket.gethostname()
        return cls(job=new_id(), restart=0, node=node, partition="", gpus=0, in_slurm=False)

    @classmethod
    def here(cls) -> Place:
        """This process's place."""
        env = os.environ
        array = env.get("SLURM_ARRAY_JOB_ID")
        task = f"{array}_{env['SLURM_ARRAY_TASK_ID']}" if array else env["SLURM_JOB_ID"]
        on_node = env.get("SLURM_GPUS_ON_NODE", "0")
        gpus = int(on_node) if on_node.isdigit() else 0
        return cls(
            job=task,
            restart=int(env.get("SLURM_RESTART_COUNT", "0")),
            node=env.get("SLURMD_NODENAME", socket.gethostname()),
            partition=env.get("SLURM_JOB_PARTITION", ""),
            gpus=gpus,
            gpu_type=_gpu_type(env["SLURM_JOB_ID"]) if gpus else "",
        )


def _gpu_type(job: str) -> str:
    """The type of the GPUs that a job was given; "" if its site has no names for them.

    SLURM's environment does not tell: a job that asked for any GPU may be on any type.
    """
    try:
        shown = run("scontrol", "show", "job", "-d", job, timeout_s=10.0)
    except SlurmError:
        return ""
    match = _DETAIL.search(shown)
    return match["type"] if match else ""


class Journal:
    """The file that describes one attempt: written when it begins, again when it ends."""

    def __init__(self, spec: Spec, sweep: Sweep, place: Place, submission: str) -> None:
        self._earlier = records.attempts(sweep.path, spec["key"])
        run = f"{place.job}.{place.restart}" + (f".{place.again}" if place.again else "")
        self._path = records.attempt_file(sweep.path, spec["key"], run)
        self._began, self._in_slurm = time.monotonic(), place.in_slurm
        self.log = sweep.logs / f"{spec['kind']}-{spec['key']}.{run}.log"
        self._what: Json = {
            "key": spec["key"],
            "job": place.job,
            "restart": place.restart,
            "node": place.node,
            "partition": place.partition,
            "gpus": place.gpus,
            "gpu_type": place.gpu_type,
            "submission": submission,
            "started": records.now(),
            "log": str(self.log),
        }
        files.write_whole(self._path, self._what)

    def manifest(self) -> Facts:
        """What the manifest of the stage has of it: nothing where no cluster is."""
        return {"slurm": self.facts()} if self._in_slurm else {}

    def facts(self) -> SlurmFacts:
        """What the manifest keeps: this attempt as far as it has come, and those before it."""
        own = ("job", "restart", "node", "partition", "gpus", "gpu_type", "submission", "started")
        known = {key: self._what[key] for key in own} | self._cost()
        earlier = [_brief(attempt) for attempt in self._earlier]
        return cast(SlurmFacts, known | {"earlier_attempts": earlier})

    def end(self, ending: Json | None) -> None:
        """Write how it went; None means that its stage is done."""
        self._what |= {"ended": records.now(), **self._cost(), "ending": ending}
        files.write_whole(self._path, self._what)

    def _cost(self) -> Json:
        seconds = time.monotonic() - self._began
        return {
            "seconds": round(seconds, 3),
            "gpu_hours": round(self._what["gpus"] * seconds / 3600, 6),
            "peak_rss_bytes": peak_rss_bytes(),
        }


def _brief(attempt: Json) -> Json:
    kept = (
        "job",
        "restart",
        "node",
        "partition",
        "gpus",
        "gpu_type",
        "started",
        "ended",
        "seconds",
        "gpu_hours",
        "peak_rss_bytes",
    )
    brief = {key: attempt[key] for key in kept if key in attempt}
    return brief | {"ending": (attempt.get("ending") or {}).get("error", "")}
