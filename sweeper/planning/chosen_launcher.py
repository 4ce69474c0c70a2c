"""What chose the launcher of a sweep, remembered with it: a run on another one says so."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeper.redaction import redact
from sweeper.store import files

_FILE = "launcher.json"
_LAUNCHER = re.compile(r"[+~]*hydra[./]launcher\b")


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
