"""Tab completion of what Hydra knows nothing of: verbs, and the sweeps and cells of a home."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from sweeper.cli.commands import NAMED, VERBS


def prepare() -> None:
    """Answer for verbs, ``name=`` and ``cell=``; hide the verb from Hydra for all else.

    Hydra would take a verb for a broken override.
    """
    line = os.environ.get("COMP_LINE")
    if line is None or not any(word.startswith("query=") for word in sys.argv):
        return
    words = line.split()
    typing = words[1:] if not line.endswith(" ") else [*words[1:], ""]
    if not typing:
        return
    print(" ".join(offered(typing)))
    if len(typing) > 1 and typing[0] in VERBS:
        os.environ["COMP_LINE"] = line.replace(f" {typing[0]} ", " ", 1)


def offered(typing: Sequence[str]) -> list[str]:
    """What may stand in the place of the last word."""
    last, home = typing[-1], _home(typing)
    if len(typing) == 1 and "=" not in last:
        return [verb for verb in VERBS if verb.startswith(last)]
    if last.startswith("name="):
        return _starting(last, (f"name={name}" for name in _sweeps(home)))
    if last.startswith("cell="):
        return _starting(last, (f"cell={shlex.quote(label)}" for label in _cells(home, typing)))
    if len(typing) == 2 and typing[0] in NAMED and "=" not in last:
        return _starting(last, _sweeps(home))
    return []


def _starting(word: str, found: Iterable[str]) -> list[str]:
    return [each for each in found if each.startswith(word)]


def _value(typing: Sequence[str], key: str) -> str | None:
    given = [word.partition("=")[2] for word in typing[:-1] if word.startswith(f"{key}=")]
    return given[-1] if given else None


def _home(typing: Sequence[str]) -> Path:
    return Path(_value(typing, "home") or os.environ.get("ISORATE_HOME") or "outputs").expanduser()


def _sweeps(home: Path) -> list[str]:
    from sweeper.planning.sweep import sweeps

    return sweeps(home)


def _cells(home: Path, typing: Sequence[str]) -> list[str]:
    """The labels of the sweep that is named, else of the latest."""
    from sweeper.planning.sweep import Sweep, latest

    bare = typing[1] if typing[0] in NAMED and len(typing) > 2 and "=" not in typing[1] else None
    name = _value(typing, "name") or bare
    sweep = Sweep(home, name) if name else latest(home)
    if sweep is None or not sweep.planned:
        return []
    return [str(cell["label"]) for cell in sweep.load()["cells"]]
