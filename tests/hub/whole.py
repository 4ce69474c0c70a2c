"""The real benchmarks from end to end: prefetch, stop the hub, run, kill, resume, compare.

    python -m tests.hub.whole DIR [overrides]        about 40 minutes with the demo's model

``experiment=benchmarks`` with three cells runs offline in a home below DIR, is killed once a
third of its evaluations are done, and resumed. Then lm-eval's own command scores the dense
checkpoint on the very documents, and the two are laid side by side. Run again: what is done
stays done.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas

from tests import rounding
from tests.hub import serving, standins

EXPERIMENT = (
    "experiment=benchmarks",
    "checkpoints=keep",
    "tracking.enabled=false",
    "hydra.launcher.workers=1",
)
OURS = "token_perplexity"


class Whole:
    """One run of it, below ``root``; ``words`` are added to those of ``experiment``."""

    def __init__(
        self, root: Path, words: Sequence[str] = (), experiment: Sequence[str] = EXPERIMENT
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root, self.home = root, root / "home"
        self.words = (*experiment, *words)
        self.served = root / "served"
        if not self.served.exists():
            standins.build(self.served, Path(os.environ[serving.VARIABLE]).absolute())

    def prefetch(self) -> None:
        """While the hub runs; it is gone when this returns."""
        with serving.served(self.served, self.root / "log") as hub:
            self.environment = hub.environment(self.root / "hf") | {"ISORATE_HOME": str(self.home)}
            subprocess.run(self._command("prefetch"), env=self.environment, check=True)

    def _command(self, verb: str) -> list[str]:
        return [sys.executable, "-m", "sweeper", verb, *self.words]

    def results(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Evaluations that were committed: their directories and results."""
        for path in sorted((self.home / "store/evaluate").glob("*/result.json")):
            yield path.parent, json.loads(path.read_text())

    def run_and_kill(self, after: int) -> int:
        """Kill everything once ``after`` evaluations are committed; how many there were."""
        process = subprocess.Popen(
            self._command("run"), env=self.environment, start_new_session=True
        )
        while process.poll() is None and len(list(self.results())) < after:
            time.sleep(0.5)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return len(list(self.results()))

    def resume(self) -> str:
        """Run to the end; the report's page."""
        subprocess.run(self._command("run"), env=self.environment, check=True)
        (page,) = self.home.glob("sweeps/*/report/report.html")
        return page.read_text(encoding="utf-8")

    def dense(self) -> dict[str, tuple[dict[str, Any], pandas.DataFrame]]:
        """Task -> result and documents of the cell without any compression."""
        records = [json.loads(p.read_text()) for p in self.home.glob("sweeps/*/plan-*.json")]
        record = max(records, key=lambda one: str(one["created"]))  # the code may have changed
        (cell,) = [cell for cell in record["cells"] if cell["label"] == "dense"]
        found = {}
        for task, key in cell["stages"]["evaluate"].items():
            folder = self.home / "store/evaluate" / key
            result = json.loads((folder / "result.json").read_text())
            found[task] = (result, pandas.read_parquet(folder / "documents.parquet"))
        return found

    def peer(
        self,
        checkpoint: Path,
        dtype: str,
        tasks: Mapping[str, Sequence[int]],
        names: Sequence[str] = (),
    ) -> Any:
        """What lm-eval's own command writes about the same documents, with the hub back.

        ``names`` are what it is asked for, if not the leaf tasks one by one.
        """
        with serving.served(self.served, self.root / "log") as hub:
            out = self.root / "peer"
            model = f"pretrained={checkpoint},dtype={dtype},softmax_dtype=float32"
            command = [
                sys.executable,
                "-m",
                "lm_eval",
                "--model",
                "hf",
                "--model_args",
                model,
                "--tasks",
                ",".join(names or tasks),
                "--batch_size",
                "16",
                "--device",
                "cpu",
                "--samples",
                json.dumps({t: list(map(int, ids)) for t, ids in tasks.items()}),
                "--gen_kwargs",
                "max_gen_toks=128",
                "--output_path",
                str(out),
            ]
            subprocess.run(command, env=hub.environment(self.root / "hf-peer"), check=True)
        newest = max(out.rglob("results_*.json"), key=lambda path: path.stat().st_mtime)
        return json.loads(newest.read_text())


def differences(
    ours: Mapping[str, tuple[dict[str, Any], pandas.DataFrame]], peer: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """One row per task and metric: our value, lm-eval's, and the difference."""
    rows, results = [], peer["results"]
    for task, (result, _) in ours.items():
        for metric, entry in result["metrics"].items():
            name, _, extraction = metric.partition(":")
            theirs = results.get(task, {}).get(f"{name},{extraction or entry['filter']}")
            if isinstance(theirs, int | float):
                value = entry["value"]
                rows.append(
                    {
                        "task": task,
                        "metric": metric,
                        "n": entry["n"],
                        "isorate": value,
                        "lm_eval": theirs,
                        "difference": value - theirs,
                    }
                )
    return rows


def by_rounding(row: Mapping[str, Any], window: int) -> bool:
    """Whether a tiny model's two float32 values can be the same: whatever is counted is equal.

    Of rolling text both sum the log-likelihoods of windows of up to ``window`` tokens, one by
    one at worst (`tests.rounding`); a perplexity moves by its logarithm times as much.
    """
    value, allowed = abs(row["lm_eval"]), 1e-9
    if "perplexity" in row["metric"] or row["metric"].startswith("bits_per_byte"):
        nats = math.log(value) if "perplexity" in row["metric"] else 1.0
        allowed = 2 * rounding.UNIT * (window / 3) ** 0.5 * nats * value
    return abs(row["difference"]) <= allowed


def main() -> None:
    """See the module."""
    whole = Whole(Path(sys.argv[1]).absolute(), sys.argv[2:])
    began = time.monotonic()
    whole.prefetch()
    print(f"prefetched after {time.monotonic() - began:.0f} s; the hub is gone", flush=True)
    done = len(list(whole.results()))
    if done == 0:
        done = whole.run_and_kill(after=50)
        print(f"killed after {time.monotonic() - began:.0f} s with {done} evaluations", flush=True)
    whole.resume()
    print(f"resumed and done after {time.monotonic() - began:.0f} s", flush=True)
    ours = whole.dense()
    asked = {t: rows["doc_id"].tolist() for t, (_, rows) in ours.items() if "ppl2048" not in t}
    (checkpoint,) = whole.home.glob("store/convert/*/checkpoint")
    table = pandas.DataFrame(differences(ours, whole.peer(checkpoint, "bfloat16", asked)))
    print(table.to_string(index=False))
    print(f"all after {time.monotonic() - began:.0f} s; report: {whole.home}/sweeps")


if __name__ == "__main__":
    main()
