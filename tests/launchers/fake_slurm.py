"""SLURM at the process boundary: scripted sbatch, squeue, sacct, scontrol, scancel, sinfo.

As a script (linked under those names) it answers from a JSON file. In a test, `FakeSlurm`
plays the cluster: `work` runs what is ready, in this process, or lets it die in any way.
"""

import json
import os
import shlex
import sys
import time
from pathlib import Path

NAMES = ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo", "sacctmgr", "srun")
LIVE = ("PENDING", "RUNNING")
LIMIT = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


def load(root):
    return json.loads((root / "state.json").read_text())


def save(root, state):
    (root / "state.json").write_text(json.dumps(state))


# --- the commands ---------------------------------------------------------------------


def sbatch(state, arguments):
    options, folder = {}, ""
    for line in Path(arguments[-1]).read_text().splitlines():
        if line.startswith("#SBATCH --"):
            name, _, value = line[len("#SBATCH --") :].partition("=")
            options[name] = value.strip("'\"") or True
        if "launchers.slurm.job.entrypoint" in line:
            folder = shlex.split(line)[-1]
    if refusal := state["refuse"]:  # "round": the last job alone
        if refusal == "round" and not options["job-name"].endswith("-round"):
            refusal = ""
        if refusal == "round":
            refusal = LIMIT
    if refusal:
        return fail(f"sbatch: error: Batch job submission failed: {refusal}")
    base = state["next"]
    state["next"] += 1
    count = int(options["array"].split("%")[0].split("-")[1]) + 1 if "array" in options else 0
    queued = sum(entry["state"] in LIVE for entry in state["jobs"].values())
    if state["max_submit"] and queued + max(1, count) > state["max_submit"]:
        return fail(f"sbatch: error: Batch job submission failed: {LIMIT}")
    if count > int(str(state["max_array"]).split()[0]):
        return fail("sbatch: error: Batch job submission failed: Invalid job array specification")
    for n in range(max(1, count)):
        job = f"{base}_{n}" if count else str(base)
        state["jobs"][job] = {
            "name": options["job-name"],
            "folder": folder,
            "options": options,
            "rows": [],
            "state": "PENDING",
            "submitted": time.time(),
            "user": "me",
        }
    if state["swallow"]:  # the controller has the job, but its answer is lost
        state["swallow"] -= 1
        return fail("sbatch: error: Batch job submission failed: Socket timed out on send/recv")
    print(f"{state['banner']}Submitted batch job {base}")
    return 0


def squeue(state, arguments):
    bases = arguments[arguments.index("-j") + 1].split(",") if "-j" in arguments else None
    names = arguments[arguments.index("--name") + 1].split(",") if "--name" in arguments else None
    pattern = arguments[arguments.index("-o") + 1]
    for job, entry in state["jobs"].items():
        if entry["user"] != "me" or (bases and job.split("_")[0] not in bases):
            continue
        if entry["state"] in LIVE and (names is None or entry["name"] in names):
            line = pattern.replace("%i", job).replace("%A", job.split("_")[0])
            why = entry.get("queue_reason") or reason(entry)
            for mark, value in (
                ("%T", entry["state"]),
                ("%r", why),
                ("%N", "n1"),
                ("%P", "gpu"),
                ("%b", "gres:gpu:a10:2"),
                ("%j", entry["name"]),
                ("%E", entry["options"].get("dependency", "(null)")),
            ):
                line = line.replace(mark, value)
            print(line)
    return 0


def sacct(state, arguments):
    if state["no_accounting"]:
        return fail("Slurm accounting storage is disabled")
    bases = arguments[arguments.index("-j") + 1].split(",")
    for job, entry in state["jobs"].items():
        base = job.split("_")[0]
        if base not in bases:
            continue
        if entry.get("unaccounted"):
            mates = [e for j, e in state["jobs"].items() if j.split("_")[0] == base]
            if all(e["state"] == "CANCELLED" and e.get("unaccounted") for e in mates):
                print(f"{base}|CANCELLED by 1000|0:0|Priority|None assigned|0|||gpu")
            continue
        for row in entry["rows"]:
            line = [
                job,
                row["state"],
                row["exit"],
                "None",
                row["node"],
                str(row["elapsed"]),
                "cpu=1,gres/gpu:a10=2,gres/gpu=2,mem=1G",
                "",
                "gpu",
            ]
            print("|".join(line))
            print("|".join([f"{job}.batch", *line[1:6], "cpu=1", "2048K", ""]))
        if entry["state"] in LIVE:
            node = "n1" if entry["state"] == "RUNNING" else "None assigned"
            print("|".join([job, entry["state"], "0:0", reason(entry), node, "0", "", "", "gpu"]))
    return 0


def reason(entry):
    return "Dependency" if entry["options"].get("dependency") else "Priority"


def scontrol(state, arguments):
    if not arguments:
        for line in sys.stdin.read().splitlines():
            words = dict(word.split("=", 1) for word in line.split()[1:])
            if line.startswith("update") and words["JobId"] not in state["deaf"]:
                state["jobs"][words["JobId"]]["options"]["dependency"] = words["Dependency"]
        return 0
    if arguments[0] == "release":
        for job, entry in state["jobs"].items():
            if job.split("_")[0] in arguments[1:]:
                entry["options"].pop("hold", None)
        return 0
    if "assoc_mgr" in arguments:
        queued = sum(entry["state"] in LIVE for entry in state["jobs"].values())
        shown = f"{state['max_submit']}({queued})" if state["told"] and state["max_submit"] else ""
        print(
            "ClusterName=lab Account=lab UserName= Partition= Priority=0 ID=1\n"
            "    GrpSubmitJobs=N(2) GrpWall=N(0.00)\n"
            f"ClusterName=lab Account=lab UserName=me({os.getuid()}) Partition= Priority=0 ID=2\n"
            "    ParentAccount= Lft=2 DefAssoc=Yes\n"
            f"    MaxJobs= MaxJobsAccrue= MaxSubmitJobs={shown} MaxWallPJ="
        )
        return 0
    print(f"MaxArraySize            = {state['max_array']}\nMaxJobCount = 10000")
    return 0


def scancel(state, arguments):
    for job, entry in state["jobs"].items():
        if entry["state"] in LIVE and job in arguments and "_" in job:
            end(entry, "CANCELLED by 1000", node="None assigned")
            if not entry.get("began"):  # the real one keeps no trace of an element that waited
                entry["unaccounted"] = True
        elif entry["state"] in LIVE and job.split("_")[0] in arguments:
            end(entry, "CANCELLED by 1000", node="None assigned")
    return 0


def sinfo(state, arguments):
    print(state["sinfo"])
    return 0


def sacctmgr(state, arguments):
    print(state["assoc"])
    return 0


def srun(state, arguments):
    return fail("srun: this is a fake")


def end(entry, state, *, code="0:0", node="n1", elapsed=10):
    row = {"state": state, "exit": code, "node": node, "elapsed": elapsed}
    entry["rows"].append(row)
    entry["state"] = state.split()[0]


def fail(message):
    print(message, file=sys.stderr)
    return 1


def main():
    root, name = Path(sys.argv[0]).parent.parent, Path(sys.argv[0]).name
    with (root / "calls").open("a") as calls:
        calls.write(name + "\n")
    state = load(root)
    if state["down"] and name not in ("sacct", "sacctmgr"):
        return fail(f"{name}: error: Unable to contact slurm controller (connect failure)")
    status = globals()[name](state, sys.argv[1:])
    save(root, state)
    return status


# --- the test's side ----------------------------------------------------------------------


def program(text):
    """A script of this very Python, whose path may have spaces: a ``#!`` line takes none.

    To the shell the first line is a command, to Python it begins a string.
    """
    command = f"{shlex.quote(sys.executable)} -IS"
    return f"#!/bin/sh\n'''exec' {command} \"$0\" \"$@\"\n' '''\n{text}"


class FakeSlurm:
    """A cluster of the test's own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "bin").mkdir(parents=True)
        text = program(Path(__file__).read_text())
        for name in NAMES:
            path = root / "bin" / name
            path.write_text(text)
            path.chmod(0o755)
        save(
            root,
            {
                "next": 1,
                "jobs": {},
                "refuse": "",
                "swallow": 0,
                "down": False,
                "max_array": 1001,
                "no_accounting": False,
                "banner": "",
                "max_submit": 0,
                "deaf": [],
                "told": True,
                "assoc": "lab|normal,high\nother|normal",
                "sinfo": "gpu*|up|1-00:00:00|8|8192|gpu:a10:2|a10,ib|4|idle\n"
                "big|up|4:00:00|64|512000|gpu:a100:8(S:0-1)|a100|2|mixed\n"
                "cpu|up|infinite|32|64000|(null)|(null)|9|allocated",
            },
        )

    def set(self, **values: object) -> None:
        """Change the cluster."""
        save(self.root, {**load(self.root), **values})

    def calls(self, name: str) -> int:
        """How often a command was called."""
        path = self.root / "calls"
        return path.read_text().split().count(name) if path.exists() else 0

    @property
    def jobs(self) -> dict:
        """All jobs by id."""
        return load(self.root)["jobs"]

    def change(self, job: str, **values: object) -> None:
        """Change one job."""
        state = load(self.root)
        state["jobs"][job] |= values
        save(self.root, state)

    def end(self, job: str, state: str, **row: object) -> None:
        """Let a job end like this without having done anything."""
        whole = load(self.root)
        end(whole["jobs"][job], state, **row)
        save(self.root, whole)

    def requeue(self, job: str, state: str, **row: object) -> None:
        """Let an execution end like this and the job wait for another one."""
        self.end(job, state, **row)
        self.change(job, state="PENDING")

    def ready(self) -> list[str]:
        """Jobs that may start; those that never can are cancelled, as SLURM does."""
        changed = True
        while changed:
            changed = False
            for job, entry in self.jobs.items():
                if entry["state"] == "PENDING" and self._verdict(job, entry) == "never":
                    self.end(job, "CANCELLED", node="None assigned", elapsed=0)
                    changed = True
        return [
            j
            for j, e in self.jobs.items()
            if e["state"] == "PENDING" and self._verdict(j, e) == "ready"
        ]

    def _verdict(self, job: str, entry: dict) -> str:
        if entry["options"].get("hold"):
            return "wait"
        if "?" in str(entry["options"].get("dependency", "")):  # any of several
            watched = [part.split(":")[1] for part in entry["options"]["dependency"].split("?")]
            states = [self.jobs[job]["state"] for job in watched]
            if any(s not in LIVE and s != "COMPLETED" for s in states):
                return "ready"
            return "wait" if any(s in LIVE for s in states) else "never"
        verdicts = []
        for part in filter(None, str(entry["options"].get("dependency", "")).split(",")):
            kind, *parents = part.split(":")
            if kind == "aftercorr":
                parents = [f"{parents[0]}_{job.split('_')[1]}"]
            for parent in parents:
                states = [
                    e["state"]
                    for j, e in self.jobs.items()
                    if j == parent or j.split("_")[0] == parent
                ]
                over = all(s not in LIVE for s in states)
                good = kind == "afterany" or all(s == "COMPLETED" for s in states)
                verdicts.append("wait" if not over else "ready" if good else "never")
        if "never" in verdicts:
            return "never"
        return "wait" if "wait" in verdicts else "ready"

    def start(self, job: str) -> str:
        """Run one job in this process; its state afterwards."""
        import cloudpickle

        entry = self.jobs[job]
        self.change(job, state="RUNNING", began=True)
        array, _, task = job.partition("_")
        extra = {
            "SLURM_JOB_ID": array,
            "SLURM_RESTART_COUNT": str(len(entry["rows"])),
            "SLURMD_NODENAME": "n1",
            "SLURM_JOB_PARTITION": "gpu",
            "SLURM_GPUS_ON_NODE": "2",
        }
        if task:
            extra |= {"SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": task}
        before = dict(os.environ)
        os.environ.update(extra)
        try:
            with (Path(entry["folder"]) / f"{job}_submitted.pkl").open("rb") as file:
                cloudpickle.load(file).result()
            self.end(job, "COMPLETED")
        except Exception as error:
            log = Path(entry["folder"]) / f"{job}_0_log.err"
            log.write_text(f"{type(error).__name__}: {error}\n")
            self.end(job, "FAILED", code="1:0")
        finally:
            os.environ.clear()
            os.environ.update(before)
        return self.jobs[job]["state"]

    def work(self) -> None:
        """Run jobs until none is ready."""
        while ready := self.ready():
            self.start(ready[0])

    def round(self) -> None:
        """Run the one repair-and-collect job that is ready."""
        (job,) = (j for j in self.ready() if self.jobs[j]["name"].endswith("-round"))
        self.start(job)


if __name__ == "__main__":
    sys.exit(main())
