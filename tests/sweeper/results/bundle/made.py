"""A finished sweep on disk, with answers that its scores follow from."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from sweeper.cli.request import Request
from sweeper.config.schema import Config
from sweeper.store import files, manifest
from tests import tracking_data as data

DOCUMENTS = 60
GRID = (data.GRID[0], data.GRID[1], data.GRID[3], data.GRID[4], data.GRID[5])
Edit = Callable[[bytes], bytes]


def home(path: Path, *, machine: str = "node1", seed: int = 0, lacking: str = "") -> Path:
    """A home with the sweep "demo" as one machine carried it out.

    Args:
        path: where.
        machine: whose attempts and host it has, and whose paths and token are in it.
        seed: of the answers.
        lacking: the label of a cell that lacks its scores of one task.
    """
    plan, store = data.record(GRID), data.FakeStore()
    data.fill(store, plan)
    plan["overrides"] = [f"model.id=/disks/{machine}/models/tiny"]
    for cell in plan["cells"]:
        cell["config"]["tasks"] |= {"dtype": "bfloat16", "backend": "hf", "batch_size": 16}
        cell["config"]["model"]["id"] = f"/disks/{machine}/models/tiny"
    for key, spec in plan["stages"].items():
        label = next((c["label"] for c in plan["cells"] if key in str(c["stages"])), "")
        if lacking and label == lacking and spec["params"].get("task") == "cloze":
            continue
        _commit(path, spec, store.results[key], store.manifests[key], machine, seed)
    stages = {
        key: {
            **spec,
            "sources": {"model": f"/disks/{machine}/models/tiny"},
            "parents": {role: one["key"] for role, one in spec["parents"].items()},
        }
        for key, spec in plan["stages"].items()
    }
    files.write_whole(path / "sweeps/demo/plan-0.json", {**plan, "stages": stages})
    return path


def _commit(
    path: Path, spec: Mapping[str, Any], result: Any, facts: Any, machine: str, seed: int
) -> None:
    out = path / "store" / spec["kind"] / spec["key"]
    out.mkdir(parents=True)
    if spec["kind"] == "evaluate":
        documents = answered(spec["params"]["task"], spec["key"], seed, result)
        documents.to_parquet(out / "documents.parquet")
    files.write_json(out / "result.json", result)
    files.write_json(
        out / "manifest.json",
        manifest.seal(
            {
                **facts,
                "host": machine,
                "attempt": f"{machine}.{spec['key']}",
                "device": machine,
                "files": manifest.listing(out),
            }
        ),
    )


def answered(task: str, key: str, seed: int, result: dict[str, Any]) -> pd.DataFrame:
    """Answers to all documents of a task; the result is set to what they give."""
    rng = np.random.default_rng([int(hashlib.sha256(key.encode()).hexdigest()[:8], 16), seed])
    found = pd.DataFrame(
        {
            "doc_id": range(DOCUMENTS),
            "doc_hash": [
                hashlib.sha256(f"{task}{n}".encode()).hexdigest() for n in range(DOCUMENTS)
            ],
            "target_hash": "t",
            "prediction": rng.integers(0, 4, DOCUMENTS).astype(str),
            "likelihoods": list(rng.normal(-3, 1, (DOCUMENTS, 4))),
            "text": "hf_abcdefghij",
            "seconds": rng.random(DOCUMENTS),
        }
    )
    ((name, entry),) = result["metrics"].items()
    if task != "perplexity":
        found[name] = (rng.random(DOCUMENTS) < entry["value"]).astype(float)
        entry |= {
            "value": float(found[name].mean()),
            "n": DOCUMENTS,
            "stderr": float(found[name].std(ddof=1) / DOCUMENTS**0.5),
        }
        return found
    weight = rng.integers(20, 60, DOCUMENTS).astype(float)
    total = -weight * rng.normal(np.log(entry["value"]), 0.2, DOCUMENTS)
    rate = total.sum() / weight.sum()
    left = ((total - rate * weight) ** 2).sum()
    error = (DOCUMENTS / (DOCUMENTS - 1) * left) ** 0.5 / weight.sum()
    entry |= {"value": float(np.exp(-rate)), "stderr": float(np.exp(-rate) * error)}
    return found.assign(**{f"{name}.sum": total, f"{name}.weight": weight})


def request(home: Path, **values: Any) -> Request:
    """A command about this home."""
    config = OmegaConf.merge(
        OmegaConf.structured(Config), {"home": str(home), "name": "demo", "output": "json"}, values
    )
    return Request(config=config, loader=None, launcher=None, arguments=[])


def edited(bundle: Path, to: Path, edits: Mapping[str, Edit], *, sealed: bool = False) -> Path:
    """The bundle with some of its files changed; ``sealed``: and its index made to fit."""
    with zipfile.ZipFile(bundle) as packed:
        held = {entry.filename: packed.read(entry) for entry in packed.infolist()}
    held |= {name: edit(held[name]) for name, edit in edits.items()}
    if sealed:
        index = json.loads(held["bundle.json"])
        index["files"] = {
            name: {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
            for name, body in held.items()
            if name != "bundle.json"
        }
        held["bundle.json"] = json.dumps(index).encode()
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, body in held.items():
            packed.writestr(name, body)
    return to
