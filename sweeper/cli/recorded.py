"""A name alone means the sweep that was recorded under it: its arguments are taken up again."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from sweeper.errors import IsorateError
from sweeper.planning.sweep import Sweep, read_plan, typed
from sweeper.redaction import redact

PLANNING = ("run", "plan", "retry", "prefetch")
"""Verbs that plan a grid."""
_ABOUT = (
    "action",
    "name",
    "home",
    "output",
    "checkpoints",
    "yes",
    "watch",
    "refresh",
    "tracking",
    "hydra",
)
"""Keys, or sections, that say nothing about cells."""


def arguments(words: Sequence[str]) -> list[str]:
    """The words, with those of the recorded sweep where they name it and nothing else of a grid.

    Args:
        words: as typed, the verb as ``action=VERB``.
    """
    said = _overrides(words)
    values = {o.key_or_group: str(o.value()) for o in said if not o.is_sweep_override()}
    verb, name = values.get("action", "run"), values.get("name")
    if verb not in PLANNING or name is None or any(_is_of_a_grid(o) for o in said):
        return list(words)
    home = Path(values.get("home") or os.environ.get("ISORATE_HOME") or "outputs").expanduser()
    try:
        plans = Sweep(home.absolute(), name).plans
    except IsorateError:  # no such name can be: the verb says so
        return list(words)
    if not plans:
        return list(words)
    again = [w for w in read_plan(plans[-1])["overrides"] if not _is_about(w)]
    said_again = redact(typed(again)) or "without arguments"
    print(f"isorate: {name} as it was recorded: {said_again}", file=sys.stderr)
    if len(plans) > 1:
        print(
            f"isorate: {len(plans) - 1} earlier of its plans are not repeated "
            f"(isorate forget name={name} shows them)",
            file=sys.stderr,
        )
    return [*again, *words]


def _overrides(words: Sequence[str]) -> list[Override]:
    """What was typed besides flags and their values."""
    typed_ = [word for word in words if word[:1] == "~" or ("=" in word and word[:1] != "-")]
    return list(OverridesParser.create().parse_overrides(typed_)) if typed_ else []


def _is_of_a_grid(override: Override) -> bool:
    return override.key_or_group.split(".")[0].split("/")[0] not in _ABOUT


def _is_about(word: str) -> bool:
    return not any(_is_of_a_grid(one) for one in _overrides([word]))
