"""The launcher that a sweep was submitted with, made again from what the submission recorded."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeper import files
from sweeper.redact import redact

_FILE = "launcher.json"
_LAUNCHER = re.compile(r"[+~]*hydra[./]launcher\b")


def launcher(sweep: Path) -> Any | None:
    """The launcher of a sweep's latest submission; None if nothing was ever submitted.

    So `status`, `cancel` and `logs` need no ``hydra/launcher`` of their own.
    """
    found = sorted((sweep / "jobs").glob("*.json"))
    records = [path for path in found if not path.name.endswith(".round.json")]
    return make(files.read_json(records[-1])["launcher"]) if records else None


def choice(config: Any) -> list[str]:
    """The words of a command line that chose its launcher: ``hydra/launcher=slurm`` and the like.

    Args:
        config: as Hydra composed it, with its own part.
    """
    own = config.hydra
    words = [str(word) for word in own.overrides.hydra if _LAUNCHER.match(str(word))]
    folders = [s.path for s in own.runtime.config_sources if s.provider == "command-line"]
    named = own.runtime.choices.get("hydra/launcher")
    if not any(word.startswith("hydra/launcher=") for word in words):
        words.insert(0, f"hydra/launcher={named}")
    return [*(word for path in folders for word in ("--config-dir", str(path))), *words]


def remember(sweep: Path, words: Sequence[str]) -> str:
    """Note what chose the launcher of a run of this sweep.

    Returns:
        What to say if it is another one than the last time; "" if it is not.
    """
    before, name = remembered(sweep), _name(words)
    files.write_whole(sweep / _FILE, {"words": [redact(word) for word in words]})
    if before and _name(before) != name:
        return (
            f"this sweep was run with {_name(before)} before, now with {name}; as before: "
            + shlex.join(before)
        )
    return ""


def remembered(sweep: Path) -> list[str]:
    """The words that chose the launcher of the sweep's latest run; [] if it was never noted."""
    try:
        return [str(word) for word in files.read_json(sweep / _FILE)["words"]]
    except FileNotFoundError:
        return []


def _name(words: Sequence[str]) -> str:
    return next((word for word in words if word.startswith("hydra/launcher=")), "")


def make(config: Mapping[str, Any]) -> Any:
    """A launcher from its ``_target_`` and arguments; only our own launchers are made."""
    from hydra.utils import instantiate

    return instantiate(dict(config), _convert_="all", _execution_whitelist_="launchers.*")
