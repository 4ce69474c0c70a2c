"""A workshop for compression tests: tiny checkpoints, each made once for the whole run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sweeper.stages import Job, measure, quantize
from sweeper.stages.prune import stage as prune
from tests import tiny

CALIBRATION = {"samples": 8, "length": 64, "seed": 0}
COMMON: dict[str, Any] = {
    "model": {},
    "block_size": 128,
    "dampening": 0.01,
    "calibration": CALIBRATION,
    "compute_dtype": "float32",
    "save_dtype": "bfloat16",
}
PRUNE: dict[str, Any] = {
    "method": "sparsegpt",
    "sparsity": 0.25,
    "pattern": "unstructured",
    **COMMON,
}
QUANTIZE: dict[str, Any] = {
    "method": "gptq",
    "bits": 4,
    "group_size": 64,
    "symmetric": True,
    "actorder": "static",
    "mask": "none",
    **COMMON,
}


class Workshop:
    """Runs stages on a tiny model; the same parameters are run once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.dense = tiny.make(root / "dense")
        self.text = tiny.text(root / "calibration.txt")
        self._made: dict[str, Path] = {}
        self.results: dict[Path, dict[str, Any]] = {}

    def job(self, params: Mapping[str, Any], **fields: Any) -> Job:
        out = self.root / f"out{len(list(self.root.glob('out*')))}"
        out.mkdir()
        return Job(params=params, out=out, scratch=out, **fields)

    def _run(self, kind: Any, params: dict[str, Any], inputs: dict[str, Path], fresh: bool) -> Path:
        key = f"{kind.__name__} {sorted(params.items())} {inputs}"
        if fresh or key not in self._made:
            sources = {"calibration": self.text} | ({} if inputs else {"model": self.dense})
            job = self.job(params, inputs=inputs, sources=sources)
            self.results[job.out] = kind.run(job)
            if fresh:  # the test may have changed what makes it
                return job.out
            self._made[key] = job.out
        return self._made[key]

    def prune(self, *, fresh: bool = False, **params: Any) -> Path:
        return self._run(prune, PRUNE | params, {}, fresh)

    def quantize(self, model: Path | None = None, *, fresh: bool = False, **params: Any) -> Path:
        inputs = {} if model is None else {"model": model}
        return self._run(quantize, QUANTIZE | params, inputs, fresh)

    def measure(self, model: Path, pruned: Path | None = None, **params: Any) -> dict[str, Any]:
        label = {"sparsity": 0.0, "pattern": "unstructured", "bits": 4, "mask": "none"}
        inputs = {"model": model} | ({} if pruned is None else {"pruned": pruned})
        job = self.job(label | params, inputs=inputs)
        return measure.run(job) | {"out": job.out}


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture
def indefinite(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum over the inputs of ``down_proj`` comes out wrong: a product above both squares."""
    from sweeper.methods import hessian

    real = hessian._add_lower_triangle

    def broken(total: Any, rows: Any) -> None:
        real(total, rows)
        if len(total) == 192:
            total[-1, 0] += total.diagonal().sum()

    monkeypatch.setattr(hessian, "_add_lower_triangle", broken)


LOADER = """
import json, pathlib, datasets
def load(**_):
    rows = json.loads((pathlib.Path(__file__).parent / "rows.json").read_text())
    splits = {"test": rows[:23], "train": rows[23:]}
    return {name: datasets.Dataset.from_list(part) for name, part in splits.items()}
"""
TASK = """
task: {name}
custom_dataset: !function loader.load
test_split: test
doc_to_text: start
metadata: {{version: 2.0}}
"""
# Few-shot examples come from lm-eval's one random stream, so they depend on the order of calls.
TASKS = {
    "tiny_choice": """
output_type: multiple_choice
doc_to_choice: choices
doc_to_target: answer
training_split: train
fewshot_split: train
num_fewshot: 2
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
""",
    "tiny_ending": """
output_type: loglikelihood
doc_to_target: end
metric_list:
  - {metric: perplexity, aggregation: perplexity, higher_is_better: false}
  - {metric: acc, aggregation: mean, higher_is_better: true}
""",
    "tiny_text": """
output_type: loglikelihood_rolling
doc_to_target: text
metric_list:
  - {metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
  - {metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}
""",
    "tiny_answer": """
output_type: generate_until
doc_to_target: end
generation_kwargs: {until: ["."], max_gen_toks: 6, do_sample: false}
filter_list:
  - name: strict
    filter:
      - {function: regex, regex_pattern: "(zzz)"}
      - {function: take_first}
  - name: loose
    filter:
      - {function: take_first}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
""",
}
PARAMS: dict[str, Any] = {
    "model": {},
    "task": "tiny_choice",
    "task_sha256": "",
    "backend": "hf",
    "dtype": "float32",
    "batch_size": 4,
    "limit": None,
    "num_fewshot": None,
    "apply_chat_template": False,
    "order_seed": 1234,
    "block": 5,
    "max_gen_toks": None,
    "part": None,
    "shared_context": False,
    "add_bos_token": None,
    "keep_text": True,
    "stop_collapsed": False,
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama, no better than chance but with likelihoods that differ."""
    return tiny.make(tmp_path_factory.mktemp("model") / "checkpoint")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Task files of every output type over 23 documents."""
    folder = tmp_path_factory.mktemp("tasks")
    rows = [
        {
            "start": " ".join(sentence.split()[:-1]),
            "end": " " + sentence.split()[-1],
            "choices": [sentence.split()[-1], tiny.NOUNS[i % 5], tiny.VERBS[i % 7]],
            "answer": i % 3,
            "text": " ".join(tiny.sentences(2 + i % 5, seed=i)),
        }
        for i, sentence in enumerate(tiny.sentences(31, seed=5))
    ]
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "loader.py").write_text(LOADER)
    for name, body in TASKS.items():
        (folder / f"{name}.yaml").write_text(TASK.format(name=name) + body)
    return folder


@pytest.fixture
def make_job(checkpoint: Path, tasks: Path, tmp_path: Path) -> Callable[..., Job]:
    """A job in fresh directories; keyword arguments are parameters."""

    def build(model: Path = checkpoint, *, progress: Any = None, **params: Any) -> Job:
        out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        more = {"progress": progress} if progress else {}
        return Job(
            params={**PARAMS, **params},
            out=out,
            scratch=scratch,
            sources={"model": model, "tasks": tasks},
            **more,
        )

    return build
