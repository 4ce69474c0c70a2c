"""A directory that the loopback hub serves: real data where it is given, stand-ins beside it.

The stand-ins have the columns and the layout of the data sets whose names they carry, and
text of our own.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from sweeper.inputs.tasks import index
from tests import tiny

Rows = Sequence[Mapping[str, Any]]
MATH = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)
WIKITEXT = "wikitext-2-raw-v1"


def build(root: Path, real: Path | None = None) -> Path:
    """All repositories below ``root``: links to those of ``real``, and the stand-ins."""
    root.mkdir(parents=True, exist_ok=True)
    for repository in sorted(real.glob("*/*")) if real else []:
        if repository.is_dir():
            target = root / repository.relative_to(real)
            target.parent.mkdir(exist_ok=True)
            target.symlink_to(repository)
    dataset(root / "EleutherAI/hendrycks_math", {name: _math(name) for name in MATH})
    dataset(root / "ptb-text-only/ptb_text_only", {"penn_treebank": {"test": _ptb()}})
    dataset(root / "cais/mmlu", {name: _mmlu(name) for name in subjects()})
    dataset(root / "Salesforce/wikitext", {WIKITEXT: {"test": _wikitext(real)}})
    return root


def dataset(folder: Path, configurations: Mapping[str, Mapping[str, Rows]]) -> Path:
    """Writes a repository of parquet files: configuration -> split -> rows."""
    card = ["---", "configs:"]
    for name, splits in configurations.items():
        card += [f'- config_name: "{name}"', "  data_files:"]
        for split, rows in splits.items():
            file = folder / name / f"{split}-00000-of-00001.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), file)
            card += [f"  - split: {split}", f'    path: "{file.relative_to(folder)}"']
    (folder / "README.md").write_text("\n".join([*card, "---", "A stand-in for tests.", ""]))
    return folder


def _math(kind: str) -> dict[str, Rows]:
    """Sums, in the columns of the competition problems."""
    rng = random.Random(kind)

    def row() -> dict[str, str]:
        a, b = rng.randint(2, 99), rng.randint(2, 99)
        solution = rf"We add and get ${a}+{b}=\boxed{{{a + b}}}$."
        return {
            "problem": f"What is ${a}+{b}$?",
            "level": "Level 1",
            "type": kind,
            "solution": solution,
        }

    return {"train": [row() for _ in range(4)], "test": [row() for _ in range(3)]}


def subjects() -> list[str]:
    """Of MMLU, each a configuration of its data set, as lm-eval's task files name them."""
    files = (index.directory() / "mmlu/default").glob("mmlu_*.yaml")
    return sorted(file.stem.removeprefix("mmlu_") for file in files)


def _mmlu(subject: str) -> dict[str, Rows]:
    """Sums with four answers each; subjects differ in size, as the real ones do."""
    rng = random.Random(subject)

    def row() -> dict[str, Any]:
        a, b, answer = rng.randint(2, 99), rng.randint(2, 99), rng.randrange(4)
        choices = [str(a + b + i - answer) for i in range(4)]
        question = f"What is {a} plus {b}?"
        return {"question": question, "subject": subject, "choices": choices, "answer": answer}

    sizes = {"test": rng.randint(3, 6), "validation": 2, "dev": 5}
    return {split: [row() for _ in range(size)] for split, size in sizes.items()}


def _ptb() -> Rows:
    return [{"sentence": line.lower().rstrip(".")} for line in tiny.sentences(600, seed=3)]


def _wikitext(real: Path | None) -> Rows:
    """Lines, each with its end; empty ones between: of the real articles where they are given."""
    pages = [" = Title = \n \n " + " ".join(tiny.sentences(30, seed=i)) for i in range(12)]
    if real is not None:
        folder = real / "EleutherAI/wikitext_document_level" / WIKITEXT
        pages = pyarrow.parquet.read_table(next(folder.glob("test-*")))["page"].to_pylist()
    lines = [line for page in pages for line in page.split("\n")]
    return [{"text": f"{line}\n" if line.strip() else ""} for line in lines]
