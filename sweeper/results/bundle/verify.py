"""Holds a bundle against itself: records, scores, tables and verdicts must follow in this order.

1. Every file has the SHA-256 that the index recorded.
2. Every document's line is the one whose digest and scores were copied.
3. Every metric that follows from documents by a known formula is what they give.
4. Every table and verdict is what these scores and documents give.
5. Every decision of a race is what the documents of its look give.

What this shows is that nothing was changed since, and that what is concluded follows. Who writes
a bundle anew, all of it, can write anything: the digest that `isorate bundle` printed tells.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from sweeper.errors import IsorateError
from sweeper.results.bundle import answers, archive, conclusions, races, records
from sweeper.results.bundle.archive import Archive
from sweeper.results.bundle.difference import MOST, Difference
from sweeper.results.bundle.records import Evaluation, Records

TABLES = "tables/"
VERDICTS = "verdicts.json"
PROVENANCE = "provenance.json"
PLAN = "plan.json"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was checked, and what did not hold.

    Attributes:
        head: what the index says of the bundle.
        digest: SHA-256 of the index.
        differences: nothing, if the bundle holds.
        documents: lines that were compared with their copies.
        scores: metrics that were computed again from documents.
        taken: "cell, task: metric" of those that no known formula gives: taken as recorded.
        tables, verdicts, decisions: how many were computed again.
        unfinished: cells without all of their scores, with the reason.
    """

    head: Mapping[str, Any]
    digest: str
    differences: tuple[Difference, ...]
    documents: int = 0
    scores: int = 0
    taken: tuple[str, ...] = ()
    tables: int = 0
    verdicts: int = 0
    decisions: int = 0
    unfinished: Mapping[str, str]

    @property
    def holds(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


def opened(path: Path) -> tuple[Archive, Records]:
    """A bundle that is whole, to be read.

    Raises:
        IsorateError: it is no bundle, or a file of it has changed.
    """
    found = archive.read(path)
    if found.damaged:
        name, why = next(iter(found.damaged.items()))
        raise IsorateError(f"{name} of {path} {why}; `isorate verify {path}` tells all.")
    return found, records.read(found.files)


def verify(path: Path) -> Verification:
    """Check a bundle by nothing but what is in it.

    Raises:
        IsorateError: it is no bundle (see `archive.read`).
    """
    found = archive.read(path)
    try:
        held = records.read(found.files)
    except IsorateError:
        if not found.damaged:
            raise
        return Verification(
            head=found.head,
            digest=found.digest,
            unfinished={},
            differences=tuple(_files(found, {})),
        )
    differences = list(_files(found, held.evaluations))
    documents = scores = 0
    taken: list[str] = []
    for evaluation in held.evaluations.values():
        try:
            differences += _documents(found, evaluation)
            again, left = _scores(found, evaluation, differences)
            documents += len(answers.rows(found.files[f"{evaluation.folder}/{records.RECORD}"]))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            differences.append(
                Difference(
                    kind="file",
                    where=evaluation.where,
                    recorded="",
                    found=f"is no record of documents any more ({type(error).__name__}: {error})",
                    cell=", ".join(evaluation.cells),
                    task=evaluation.task,
                )
            )
            continue
        scores, taken = scores + again, taken + left
    tables, verdicts = _conclusions(found, held, differences)
    decisions, parted = races.check(found.files.get(records.RACE), held)
    differences += parted
    return Verification(
        head=found.head,
        digest=found.digest,
        differences=tuple(differences),
        documents=documents,
        scores=scores,
        taken=tuple(taken),
        tables=tables,
        verdicts=verdicts,
        decisions=decisions,
        unfinished={o.cell["label"]: o.reason for o in held.outcomes if o.status != "done"},
    )


def _files(found: Archive, evaluations: Mapping[str, Evaluation]) -> Iterator[Difference]:
    for name, why in sorted(found.damaged.items()):
        about = evaluations.get(name.rpartition("/")[0])
        yield Difference(
            kind="file",
            where=f"{name} ({about.where})" if about else name,
            recorded="",
            found=why,
            name=name,
            cell=", ".join(about.cells) if about else "",
            task=about.task if about else "",
        )


def _documents(found: Archive, evaluation: Evaluation) -> Iterator[Difference]:
    data = found.files[f"{evaluation.folder}/{records.RECORD}"]
    kept = json.loads(found.files[f"{evaluation.folder}/{records.ANSWERS}"])
    swapped = f"{evaluation.folder}/{records.ANSWERS}" in found.damaged
    for one in answers.changed(data, kept):
        first, second = one.recorded, one.found
        yield Difference(
            kind="document",
            where=f"{evaluation.where}, document {one.document}: {one.column}",
            # Of the two copies, the one whose hash still holds is what was recorded.
            recorded=second if swapped else first,
            found=first if swapped else second,
            cell=", ".join(evaluation.cells),
            task=evaluation.task,
            document=one.document,
            name=one.column,
        )


def _scores(
    found: Archive, evaluation: Evaluation, differences: list[Difference]
) -> tuple[int, list[str]]:
    rows = answers.rows(found.files[f"{evaluation.folder}/{records.RECORD}"])
    result = json.loads(found.files[f"{evaluation.folder}/{records.RESULT}"])
    kept = json.loads(found.files[f"{evaluation.folder}/{records.ANSWERS}"])
    again, taken = 0, []
    for name, entry in result["metrics"].items():
        formula = kept["formulas"].get(name)
        if formula is None:
            taken.append(f"{evaluation.where}: {name}")
            continue
        again += 1
        value, stderr = answers.recomputed(rows, name, formula["value"])
        pairs = [("", entry["value"], value)]
        if formula["stderr"]:
            pairs.append((" (standard error)", entry["stderr"], stderr))
        for word, recorded, computed in pairs:
            if not answers.same(recorded, computed):
                differences.append(
                    Difference(
                        kind="score",
                        where=f"{evaluation.where}: {name}{word}",
                        recorded=repr(recorded),
                        found=repr(computed),
                        name=name,
                        cell=", ".join(evaluation.cells),
                        task=evaluation.task,
                    )
                )
    return again, taken


def _conclusions(found: Archive, held: Records, differences: list[Difference]) -> tuple[int, int]:
    from analysis.errors import BadResults

    try:
        recorded = {
            name.removeprefix(TABLES).removesuffix(".csv"): data.decode()
            for name, data in found.files.items()
            if name.startswith(TABLES)
        }
        said = [str(one) for one in json.loads(found.files.get(VERDICTS, b"[]"))]
        made = conclusions.of(held.results())
    except (BadResults, ValueError, TypeError) as refused:
        differences.append(
            Difference(
                kind="table",
                where="tables and verdicts",
                name="",
                recorded="some",
                found=f"none: {refused}",
            )
        )
        return 0, 0
    for name in sorted(recorded.keys() | made.tables.keys()):
        differences += _table(name, recorded.get(name), made.tables.get(name))
    for place, (one, two) in enumerate(zip_longest(said, made.verdicts, fillvalue="none")):
        if one != two:
            differences.append(
                Difference(
                    kind="verdict",
                    where=f"verdict {place + 1}",
                    recorded=repr(one),
                    found=repr(two),
                )
            )
    return len(made.tables), len(made.verdicts)


def _table(name: str, recorded: str | None, made: str | None) -> Iterator[Difference]:
    if recorded is None or made is None:
        yield Difference(
            kind="table",
            where=f"table {name}",
            name=name,
            recorded="no such table" if recorded is None else "a table",
            found="none" if made is None else "one",
        )
        return
    if recorded == made:
        return
    for number, (place, one, two) in enumerate(conclusions.parted(recorded, made)):
        if number == MOST:
            yield Difference(
                kind="table",
                where=f"table {name}, and more places",
                name=name,
                recorded="others",
                found="others",
            )
            return
        yield Difference(
            kind="table", where=f"table {name}, {place}", recorded=one, found=two, name=name
        )
