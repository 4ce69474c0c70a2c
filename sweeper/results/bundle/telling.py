"""A verification in words and as JSON data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sweeper.errors import several
from sweeper.results.bundle.verify import Verification

SHOWN = 30


def text(path: Path, found: Verification) -> str:
    """What was checked and what did not hold, a line each."""
    by = f"sweep {found.head.get('name', '?')}, written by Isorate {found.head.get('isorate', '?')}"
    lines = [f"{path}: {by}", f"  digest {found.digest}"]
    if found.documents or found.tables:
        lines.append(
            f"  computed again: {found.scores} scores from {found.documents} documents, "
            f"{found.tables} tables, {found.verdicts} verdicts"
            + (f", {found.decisions} looks of a race" if found.decisions else "")
        )
    if found.taken:
        lines.append(f"  taken as recorded, no formula known: {several(found.taken, 5)}")
    lines += [f"  not done, {label}: {why}" for label, why in found.unfinished.items()]
    if found.holds:
        return "\n".join([*lines, "  holds: everything follows from the records"])
    lines.append(f"  does not hold: {len(found.differences)} differences")
    lines += [f"    {one}" for one in found.differences[:SHOWN]]
    if len(found.differences) > SHOWN:
        lines.append(f"    and {len(found.differences) - SHOWN} more (output=json has all)")
    return "\n".join(lines)


def document(path: Path, found: Verification) -> Mapping[str, Any]:
    """The same as JSON data."""
    return {
        "file": str(path),
        "holds": found.holds,
        "digest": found.digest,
        "sweep": found.head.get("name"),
        "isorate": found.head.get("isorate"),
        "documents": found.documents,
        "scores": found.scores,
        "taken": list(found.taken),
        "tables": found.tables,
        "verdicts": found.verdicts,
        "decisions": found.decisions,
        "unfinished": dict(found.unfinished),
        "differences": [asdict(one) for one in found.differences],
    }
