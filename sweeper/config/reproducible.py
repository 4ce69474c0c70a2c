"""``reproducible=true``: every cell is compressed and scored in float32.

The other half of the key, portable kernels, is no part of a cell; see `sweeper.modeling.kernels`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sweeper.config.grid import Combination, Section
from sweeper.errors import BadInput

DTYPE = "float32"
NOTE = (
    "reproducible=true: float32 and portable kernels; the time below is that of stages without "
    "them, and it takes several times as long"
)
_SETS = {"model": "compute_dtype", "tasks": "dtype"}


def in_float32(combinations: Iterable[Combination]) -> Iterator[Combination]:
    """The combinations with compression and scoring in float32; sections stay shared."""
    made: dict[int, tuple[Section, Section]] = {}
    for combination in combinations:
        own = {name: _float32(name, combination.sections[name], made) for name in _SETS}
        yield replace(combination, sections={**combination.sections, **own})


def _float32(name: str, section: Section, made: dict[int, tuple[Section, Section]]) -> Section:
    if id(section) not in made:
        made[id(section)] = (section, {**section, _SETS[name]: DTYPE})
    return made[id(section)][1]


def check(arguments: Sequence[str], blocks: Sequence[Mapping[str, Any]]) -> None:
    """Refuse another dtype that was asked for in the same breath.

    Args:
        arguments: the overrides, as typed.
        blocks: maps of keys to values, of ``cells`` and ``grids``.

    Raises:
        BadInput: naming the key.
    """
    said = [tuple(argument.lstrip("+").split("=", 1)) for argument in arguments if "=" in argument]
    said += [(key, str(value)) for block in blocks for key, value in block.items()]
    for key, value in said:
        if key in {f"{name}.{own}" for name, own in _SETS.items()} and value != DTYPE:
            raise BadInput(
                key,
                value,
                f"reproducible=true compresses and scores in {DTYPE}; valid beside it: {DTYPE}.",
                "Leave one of the two out.",
            )
