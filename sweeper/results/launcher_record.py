"""The launcher that a sweep was submitted with, made again from what the submission recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeper.store import files


def launcher(sweep: Path) -> Any | None:
    """The launcher of a sweep's latest submission; None if nothing was ever submitted.

    So `status`, `cancel` and `logs` need no ``hydra/launcher`` of their own.
    """
    found = sorted((sweep / "jobs").glob("*.json"))
    records = [path for path in found if not path.name.endswith(".round.json")]
    return make(files.read_json(records[-1])["launcher"]) if records else None


def make(config: Mapping[str, Any]) -> Any:
    """A launcher from its ``_target_`` and arguments; only our own launchers are made."""
    from hydra.utils import instantiate

    return instantiate(dict(config), _convert_="all", _execution_whitelist_="launchers.*")
