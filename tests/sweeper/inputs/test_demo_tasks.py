"""The demo's tasks: the generator makes the files, and the items have one right answer each."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeper import data
from sweeper.data.tasks import excerpt, generate, sayings, wordlists
from sweeper.inputs.tasks import catalog

FOLDER = Path(data.__file__).parent / "tasks"
CALIBRATION = FOLDER.parent / "calibration" / "pydoc.txt"


def items(name: str) -> list[dict[str, Any]]:
    """The documents of one task."""
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", generate.TASKS)
def test_the_generator_makes_the_committed_bytes(name: str) -> None:
    assert generate.lines(name).encode() == (FOLDER / f"{name}.jsonl").read_bytes()


@pytest.mark.parametrize("name", generate.TASKS)
def test_items_are_well_formed(name: str) -> None:
    found = items(name)
    assert len(found) >= 200
    assert len({item["prompt"] for item in found}) == len(found)
    choices = {len(item["choices"]) for item in found}
    assert len(choices) == 1
    for item in found:
        assert len(set(item["choices"])) == len(item["choices"])
        assert 0 <= item["answer"] < len(item["choices"])
        assert item["prompt"] == item["prompt"].strip()
    positions = Counter(item["answer"] for item in found)
    assert max(positions.values()) - min(positions.values()) <= 1
    (leaf,) = catalog.resolve([f"demo_{name}"], FOLDER, cache_dir=FOLDER / "never")
    assert leaf.chance == pytest.approx(1 / choices.pop())
    assert leaf.documents == len(found)


def test_no_wrong_answer_is_right() -> None:
    country = dict(generate.flat(wordlists.CAPITALS))
    assert len(set(country)) == len(set(country.values())) == len(items("capitals")) / 2
    kinds = Counter(item["prompt"] for item in items("categories"))
    assert max(kinds.values()) == 1
    overlap = {frozenset(pair) for pair in generate.flat(wordlists.OVERLAPS)}
    for item in items("categories"):
        right = item["choices"][item["answer"]]
        assert not any(frozenset((right, wrong)) in overlap for wrong in item["choices"])
    groups = generate.pairs(wordlists.OPPOSITES)
    for item in items("opposites"):
        asked, right = item["prompt"].split()[3], item["choices"][item["answer"]]
        for group in groups:
            far = {b for a, b in group if a == asked} | {a for a, b in group if b == asked}
            assert not (far - {right}) & set(item["choices"])
    for item in items("endings"):
        also = set(sayings.ALSO_FITS.get(item["prompt"], "").split())
        assert not also & set(item["choices"])


def test_exceptions_name_sayings_that_exist() -> None:
    known = {line.split(" | ")[0] for line in sayings.SAYINGS.strip().splitlines()}
    assert set(sayings.ALSO_FITS) <= known
    listed = [line.split(":")[0] for line in wordlists.CATEGORIES.splitlines() if ":" in line]
    assert {word for pair in generate.flat(wordlists.OVERLAPS) for word in pair} <= set(listed)


def test_agreement_is_with_the_subject() -> None:
    number = {word: i for pair in generate.flat(wordlists.HEADS) for i, word in enumerate(pair)}
    others = generate.flat(wordlists.PLACES) + generate.flat(wordlists.PEOPLE)
    other = {word: i for pair in others for i, word in enumerate(pair)}
    for item in items("agreement"):
        _, head, *rest = item["prompt"].split()
        assert number[head] == item["answer"]
        assert all(other.get(word, 1 - item["answer"]) == 1 - item["answer"] for word in rest)
        assert tuple(item["choices"]) in wordlists.VERBS


def test_calibration_text_never_quotes_the_held_out_text() -> None:
    def passages(text: str, length: int = 12) -> set[str]:
        words = text.split()
        return {" ".join(words[i : i + length]) for i in range(len(words) - length + 1)}

    held_out = set().union(*(passages(item["text"]) for item in items("pydoc")))
    assert not held_out & passages(CALIBRATION.read_text())
    assert not set(excerpt.HELD_OUT) & set(excerpt.CALIBRATION)


def test_there_is_enough_text() -> None:
    # 3.5 to 4.5 characters are a token to the usual vocabularies: 40,000 tokens and more
    assert len(CALIBRATION.read_text()) > 4.5 * 40_000
    assert len(items("pydoc")) >= 30


def test_every_task_file_names_its_data() -> None:
    ours = {p.with_suffix(".yaml") for p in FOLDER.glob("*.jsonl")}
    assert ours <= set(FOLDER.glob("*.yaml"))
    for path in ours:
        text = re.sub(r"!function", "", path.read_text())
        config = yaml.safe_load(text)
        assert (FOLDER / config["dataset_kwargs"]["file"]).is_file()
        assert config["task"] == f"demo_{path.stem}"
