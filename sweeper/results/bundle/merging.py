"""Bundles of one grid as repeated evaluations: how far two machines are apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.errors import BadInput, IsorateError
from sweeper.results.bundle.archive import Archive
from sweeper.results.bundle.records import Records
from sweeper.results.bundle.verify import PROVENANCE

if TYPE_CHECKING:
    from analysis.data.results import Results

Read = tuple[Path, Archive, Records]


def merged(found: Sequence[Read]) -> tuple[Results, dict[str, Any]]:
    """The results of all bundles, and where they come from.

    Raises:
        BadInput: two bundles have the same evaluations; they would agree by construction.
        IsorateError: the results contradict themselves or each other.
    """
    from analysis.data.combining import repeated
    from analysis.errors import BadResults

    _refuse_twins(found)
    names = [path.name for path, _, _ in found]
    titles = names if len(set(names)) == len(names) else [str(path) for path, _, _ in found]
    try:
        results = repeated(dict(zip(titles, (r.results() for _, _, r in found), strict=True)))
    except BadResults as refused:
        raise IsorateError(f"these bundles cannot be read together: {refused}") from refused
    return results, _provenance([archive for _, archive, _ in found], titles)


def _provenance(archives: Sequence[Archive], titles: Sequence[str]) -> dict[str, Any]:
    """Of the first; of the others what differs, and the digest of each."""
    each = [json.loads(archive.files.get(PROVENANCE, b"{}")) for archive in archives]
    found = {name: text for name, text in each[0].items() if name != "sweep"}
    for title, own in zip(titles[1:], each[1:], strict=True):
        found |= {
            f"{title}: {name}": text
            for name, text in own.items()
            if each[0].get(name) != text and name != "sweep"
        }
    digests = zip(titles, archives, strict=True)
    return found | {f"bundle {title}": archive.digest for title, archive in digests}


def _refuse_twins(found: Sequence[Read]) -> None:
    """Refuse bundles that share an attempt at an evaluation: nothing was evaluated twice."""
    seen: dict[str, Path] = {}
    for path, archive, records in found:
        attempts = {
            stage.manifest["attempt"]
            for outcome in records.outcomes
            for stage in outcome.stages
            if stage.kind == "evaluate" and stage.manifest and stage.manifest.get("attempt")
        } | {archive.digest}
        if shared := [seen[attempt] for attempt in sorted(attempts) if attempt in seen]:
            raise BadInput(
                "bundles",
                f"[{shared[0]},{path}]",
                "both hold the same evaluations, which agree with themselves.",
                "Bundles of one grid that was carried out twice, each in a home of its own, "
                "are repeated evaluations.",
            )
        seen |= dict.fromkeys(attempts, path)
