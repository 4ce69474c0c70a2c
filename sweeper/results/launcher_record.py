"""What a cluster's launcher records with a sweep, for whoever asks after its jobs later.

<sweep>/jobs/<submission>.json
    one call of the launcher: ``launcher`` (its ``_target_`` and arguments), ``created``,
    ``host``, ``user``, ``home`` (where the home was), ``submission``, and what else the launcher
    needs for itself
<sweep>/jobs/<submission>.round.json
    what the job that ends a submission found: ``accounting``, one row for each execution of each
    job with ``gpu_hours`` and ``elapsed_s``
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeper.errors import IsorateError
from sweeper.store import files

Json = dict[str, Any]

JOBS = "jobs"
ROUND = ".round.json"


def submissions(sweep: Path) -> list[Json]:
    """All submissions of a sweep, the oldest first; in a copied home not those of the original."""
    return [record for path, record in _recorded(sweep) if _original(path, record) is None]


def copied_from(sweep: Path) -> Path | None:
    """The home whose jobs the latest submission speaks of, where this home is a copy of it."""
    found = [_original(path, record) for path, record in _recorded(sweep)]
    return found[-1] if found else None


def _recorded(sweep: Path) -> list[tuple[Path, Json]]:
    names = sorted((sweep / JOBS).glob("*.json"))
    return [(path, files.read_json(path)) for path in names if not path.name.endswith(ROUND)]


def _original(path: Path, record: Json) -> Path | None:
    """The home that a submission was made from, if the record there is another file than this.

    Where there is none any more the home was moved, and its jobs with it.
    """
    if "home" not in record:
        return None
    sweep = path.parent.parent
    there = Path(record["home"]) / sweep.parent.name / sweep.name / JOBS / path.name
    try:
        return None if there.samefile(path) else Path(record["home"])
    except OSError:
        return None


def rounds(sweep: Path) -> list[Json]:
    """What the jobs that end a submission found and did, the oldest first."""
    return [files.read_json(path) for path in sorted((sweep / JOBS).glob(f"*{ROUND}"))]


def executions(sweep: Path) -> Sequence[Mapping[str, Any]]:
    """Every execution of every job of a sweep, as its latest round found them; else none."""
    found: Sequence[Json] = [row for one in rounds(sweep)[-1:] for row in one.get("accounting", ())]
    return found


def launcher(sweep: Path) -> Any | None:
    """The launcher of a sweep's latest submission; None if nothing was ever submitted.

    So `status`, `cancel` and `logs` need no ``hydra/launcher`` of their own.
    """
    records = submissions(sweep)
    return make(records[-1]["launcher"]) if records else None


def make(config: Mapping[str, Any]) -> Any:
    """A launcher from its ``_target_`` and arguments; only our own launchers are made.

    Raises:
        IsorateError: the launcher of another version recorded it.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        return instantiate(dict(config), _convert_="all", _execution_whitelist_="launchers.*")
    except InstantiationException as refused:
        raise IsorateError(
            f"this sweep was submitted by another version of Isorate: {config.get('_target_')} is "
            "no launcher of this one. Cancel its jobs with scancel, then run it again; nothing "
            "that is done is done again."
        ) from refused
