"""The evaluate stage beside lm_eval's own command, and beside bare forward passes.

    python benchmarks/evaluate.py [--cells 8] [--peers 1] [--documents 60] [--checkpoint DIR]

Without a checkpoint it is SmolLM2-135M as the demo converts it. The cells are that checkpoint
with another last norm each. Ours score all of them in one worker process, imports included;
lm_eval is a command per cell, so a few of them stand for all. Both answer the same documents
of the demo's four multiple-choice tasks, in bfloat16, one thread each; CPU seconds count.
With ISORATE_TEST_HUB (and the repository in PYTHONPATH) one cell also answers arc_easy, piqa and
hellaswag, whose data then come from that loopback hub.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas

from sweeper.data import __file__ as data_file
from sweeper.inputs.tasks import catalog, index
from sweeper.store import files
from sweeper.store.store import Store

FOLDER = Path(data_file).parent / "tasks"
NAMES = ("demo_agreement", "demo_categories", "demo_endings", "demo_opposites")
REAL = ("arc_easy", "piqa", "hellaswag")
REAL_DOCUMENTS = 20  # of each
ALL = 300  # documents of each task, where it has them, beside bare forward passes: over 1,000
BARE_SHARE = 4  # every so many of these are passed forward; a rate needs no more
LOADED = """
import json, sys
from pathlib import Path
import torch
from transformers import AutoModelForCausalLM
source, target, number = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
model.model.norm.weight.data *= 1 + 0.02 * int(number)
model.save_pretrained(target)
for path in Path(source).glob("*token*"):
    (Path(target) / path.name).write_bytes(path.read_bytes())
"""
BARE = """
import json, sys, time
from pathlib import Path
import torch
from sweeper.stages.evaluate import hf_backend, task
torch.set_num_threads(1)
checkpoint, folder, params, names, count, share = sys.argv[1:]
lm = hf_backend.lm(Path(checkpoint), "cpu", json.loads(params) | {"shared_context": False})
rows = []
for name in json.loads(names):
    own = json.loads(params) | {"task": name, "task_sha256": ""}
    prepared = task.prepare(own, Path(folder), Path(checkpoint), None)
    for document in prepared.order[:int(count)][::int(share)]:
        rows += [(c + r)[:-1] for c, r in lm.encode(prepared.requests[document])]
rows.sort(key=len, reverse=True)
began = time.process_time()
with torch.inference_mode():
    for start in range(0, len(rows), 16):
        some = rows[start:start + 16]
        width = len(some[0])
        lm.model(torch.tensor([list(r) + [0] * (width - len(r)) for r in some]), use_cache=False)
print(time.process_time() - began, sum(len(row) + 1 for row in rows))
"""
PARAMS: dict[str, Any] = {
    "model": {},
    "backend": "hf",
    "dtype": "bfloat16",
    "batch_size": 16,
    "limit": None,
    "num_fewshot": None,
    "apply_chat_template": False,
    "order_seed": 1234,
    "block": 64,
    "max_gen_toks": None,
    "part": None,
    "add_bos_token": None,
    "keep_text": True,
    "stop_collapsed": False,
    "shared_context": True,
}


def cpu_s(command: list[str], **how: Any) -> tuple[float, float, str]:
    """CPU and wall seconds of a command, and what it printed."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **how)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, time.perf_counter() - began, done.stdout


def spec(checkpoint: Path, name: str, **params: Any) -> dict[str, Any]:
    (leaf,) = catalog.resolve([name], FOLDER, cache_dir=Path(tempfile.gettempdir()))
    meaning = {**PARAMS, **params, "task": name, "task_sha256": leaf.sha256}
    key = f"{checkpoint.name}-{name}-{params['limit']}-{meaning['shared_context']:d}"
    return {
        "kind": "evaluate",
        "key": key,
        "params": meaning,
        "parents": {},
        "library": {},
        "format": 1,
        "sources": {"model": str(checkpoint), "tasks": str(FOLDER)},
        "label": key,
    }


def ours(home: Path, specs: list[dict[str, Any]]) -> tuple[float, float]:
    """CPU and wall seconds of one worker process that serves the stages."""
    command = [
        sys.executable,
        "-m",
        "sweeper.worker.process",
        "--home",
        str(home),
        "--logs",
        str(home / "logs"),
        "--threads",
        "1",
    ]
    asked = "".join(json.dumps({"spec": one}) + "\n" for one in specs)
    process = [sys.executable, "-c", SERVE, *command]
    spent, wall, events = cpu_s(process, input=asked)
    endings = [json.loads(line) for line in events.splitlines()]
    failed = [e for e in endings if e["event"] in ("failed", "attempt_ended")]
    assert not failed, failed
    return spent, wall


# A worker leaves when its requests end; this one's end comes after the last answer.
SERVE = """
import json, subprocess, sys
asked = sys.stdin.readlines()
worker = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
for line in asked:
    worker.stdin.write(line)
    worker.stdin.flush()
    while True:
        event = json.loads(worker.stdout.readline())
        if event["event"] in ("done", "failed", "attempt_ended"):
            print(json.dumps(event))
            break
worker.stdin.close()
worker.wait()
"""


def theirs(checkpoint: Path, out: Path, documents: dict[str, list[int]]) -> tuple[float, float]:
    """CPU and wall seconds of lm_eval's own command on the same documents."""
    command = [
        sys.executable,
        "-m",
        "lm_eval",
        "run",
        "--model",
        "hf",
        "--model_args",
        f"pretrained={checkpoint},dtype=bfloat16,softmax_dtype=float32",
        "--tasks",
        *documents,
        "--include_path",
        str(FOLDER),
        "--batch_size",
        "16",
        "--device",
        "cpu",
        "--samples",
        json.dumps(documents),
        "--output_path",
        str(out),
        "--log_samples",
    ]
    spent, wall, _ = cpu_s(command, stderr=subprocess.DEVNULL)
    return spent, wall


def compare(store: Store, specs: list[dict[str, Any]], out: Path) -> str:
    """How far the answers of one cell are from those of lm_eval."""
    flipped, documents, apart = 0, 0, 0.0
    for one in specs:
        name = one["params"]["task"]
        mine = pandas.read_parquet(store.path(one) / "documents.parquet").set_index("doc_id")
        (samples,) = out.rglob(f"samples_{name}_*.jsonl")
        for line in samples.read_text(encoding="utf-8").strip().split("\n"):
            sample = json.loads(line)
            answers = [float(r[0]) for r in sample["filtered_resps"]]
            row = mine.loc[sample["doc_id"]]
            best = max(range(len(answers)), key=answers.__getitem__)
            flipped += str(best) != row["prediction"]
            documents += 1
            pairs = zip(answers, row["likelihoods"], strict=True)
            apart = max(apart, *(abs(a - b) for a, b in pairs))
    return f"{flipped} of {documents} choices differ, log-likelihoods by at most {apart:.2g} nats"


def converted(home: Path) -> Path:
    """SmolLM2-135M as the demo has it."""
    command = [
        sys.executable,
        "-m",
        "sweeper",
        "run",
        "model=smollm2-135m",
        f"home={home}",
        "tasks=none",
        "prune.sparsity=0",
        "quant.bits=16",
        "checkpoints=keep",
        "tracking.enabled=false",
    ]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return next((home / "store" / "convert").glob("*/checkpoint"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--peers", type=int, default=1)
    parser.add_argument("--documents", type=int, default=60, help="of each task, for the cells")
    parser.add_argument("--checkpoint", type=Path)
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        source = options.checkpoint or converted(home)
        cells = [home / f"cell{i}" for i in range(options.cells)]
        for number, cell in enumerate(cells):
            made = [sys.executable, "-c", LOADED, str(source), str(cell), str(number)]
            subprocess.run(made, check=True, stderr=subprocess.DEVNULL)
        specs = [[spec(c, n, limit=options.documents) for n in NAMES] for c in cells]
        one = ours(home / "one", specs[0])
        every = ours(home / "all", [s for each in specs for s in each])
        store = Store(home / "all")
        documents = asked(store, specs[0])
        peers = [
            theirs(cell, home / f"peer{i}", documents)
            for i, cell in enumerate(cells[: options.peers])
        ]
        peer = (sum(p[0] for p in peers) / len(peers), sum(p[1] for p in peers) / len(peers))
        count = sum(map(len, documents.values()))
        print(f"{count} documents a cell, CPU seconds (wall seconds)")
        side_by_side("one cell", one, peer, 1)
        side_by_side(f"{options.cells} cells", every, peer, options.cells)
        for i in range(len(peers)):
            print(f"cell {i}: {compare(store, specs[i], home / f'peer{i}')}", flush=True)
        bare(home, cells[0])
        if "ISORATE_TEST_HUB" in os.environ:
            real(home, cells[0])


def asked(store: Store, specs: list[dict[str, Any]]) -> dict[str, list[int]]:
    """Task -> the documents that were answered."""
    return {
        one["params"]["task"]: sorted(
            map(int, pandas.read_parquet(store.path(one) / "documents.parquet").doc_id)
        )
        for one in specs
    }


def side_by_side(
    what: str, mine: tuple[float, float], peer: tuple[float, float], times: int
) -> None:
    print(
        f"{what}: ours {mine[0]:.1f} ({mine[1]:.1f}), lm_eval {times} x {peer[0]:.1f} "
        f"({peer[1]:.1f}): {mine[0] / (times * peer[0]):.2f} of it",
        flush=True,
    )


def real(home: Path, checkpoint: Path) -> None:
    """One cell on tasks of the hub; their data are fetched and prepared before the clock runs."""
    from tests.hub import serving

    data = Path(os.environ["ISORATE_TEST_HUB"]).absolute()
    with serving.served(data, home / "log") as hub:
        os.environ.update(hub.environment(home / "hf"))
        ours(home / "fetched", [spec(checkpoint, name, limit=1) for name in REAL])
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    specs = [spec(checkpoint, name, limit=REAL_DOCUMENTS) for name in REAL]
    mine = ours(home / "real", specs)
    documents = asked(Store(home / "real"), specs)
    peer = theirs(checkpoint, home / "peer", documents)
    side_by_side(f"{', '.join(REAL)}, {REAL_DOCUMENTS} documents each", mine, peer, 1)
    print(compare(Store(home / "real"), specs, home / "peer"), flush=True)


def bare(home: Path, checkpoint: Path) -> None:
    """Over 1,000 documents by the stage, without imports and loading, beside forward passes."""
    params = json.dumps(PARAMS)
    found = cpu_s(
        [
            sys.executable,
            "-c",
            BARE,
            str(checkpoint),
            str(FOLDER),
            params,
            json.dumps(NAMES),
            str(ALL),
            str(BARE_SHARE),
        ]
    )
    seconds, tokens = map(float, found[2].split())
    # A first, short stage pays for imports and the model.
    warm = spec(checkpoint, NAMES[0], limit=1)
    specs = [spec(checkpoint, name, limit=ALL) for name in NAMES]
    ours(home / "bare", [warm, *specs])
    store = Store(home / "bare")
    spent = sum(float((store.manifest(s) or {})["cpu_seconds"]) for s in specs)
    results = [files.read_json(store.path(s) / "result.json") for s in specs]
    documents = sum(int(result["n_docs"]) for result in results)
    plain = sum(int(result["tokens"]) for result in results)
    forward = seconds * plain / tokens
    print(
        f"{documents} documents: stages {spent:.1f} CPU s; bare forward passes of the rows of "
        f"every {BARE_SHARE}th {seconds:.1f}, so of all {forward:.1f}: {forward / spent:.2f} of "
        f"their rate (lm-eval {index.version()})",
        flush=True,
    )


if __name__ == "__main__":
    main()
