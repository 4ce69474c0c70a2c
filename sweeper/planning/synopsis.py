"""What a sweep is about, in a few lines, and what to reconsider before it is carried out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.config.section import Frozen
from sweeper.planning.plan import PlannedCell

_SHIPPED = "isorate://"


@dataclass(frozen=True, kw_only=True)
class Synopsis:
    """The parts that cells are made of, each named once.

    Attributes:
        models: name, and where it comes from if that is another word.
        methods: pruning, quantization, or both in one.
        calibrations: name, samples, length, seed; none where no method looks at a text.
        tasks: leaf tasks and groups, as they were asked for.
    """

    models: tuple[str, ...]
    methods: tuple[str, ...]
    calibrations: tuple[str, ...]
    tasks: tuple[str, ...]

    def text(self) -> str:
        """Four lines for a terminal."""
        shown = {
            "Model:": self.models,
            "Method:": self.methods or ("none, the dense model alone",),
            "Calibration:": self.calibrations or ("none, no method looks at a text",),
            "Tasks:": self.tasks or ("none, nothing is scored",),
        }
        return "\n".join(f"{name:12s} {_few(found)}" for name, found in shown.items())


_MOST = 8


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more


def synopsis(cells: Iterable[PlannedCell]) -> Synopsis:
    """What these cells are made of."""
    found = list(cells)
    pruned = (f"prune {c.cell.pruning.method}" for c in found if c.cell.pruning)
    quantized = (f"quant {c.cell.quantization.method}" for c in found if c.cell.quantization)
    return Synopsis(
        models=_each(_model(section) for section in _sections(c.cell.model for c in found)),
        methods=(*_each(pruned), *_each(quantized)),
        calibrations=_each(_calibration(one) for one in _calibrations(found)),
        tasks=_each(
            str(name)
            for section in _sections(c.cell.tasks for c in found)
            for name in section["names"]
        ),
    )


def warnings(cells: Sequence[PlannedCell], with_dense: Collection[str] = ()) -> tuple[str, ...]:
    """What makes the results worth less than they look.

    Args:
        cells: the cells of the plan.
        with_dense: names of models whose dense cell the sweep has from elsewhere.
    """
    return (*_without_dense(cells, with_dense), *_demo_parts(cells))


def _without_dense(cells: Sequence[PlannedCell], known: Collection[str]) -> list[str]:
    having = {c.cell.model["name"] for c in cells if c.cell.dense} | set(known)
    return [
        f"{name} has no dense cell, so nothing can be said to be retained: add sparsity 0 at "
        "16 bit (prune.sparsity=0,... quant.bits=16,...)"
        for name in _each(c.cell.model["name"] for c in cells)
        if name not in having
    ]


def _demo_parts(cells: Sequence[PlannedCell]) -> list[str]:
    """The demo's tasks and calibration are made for the small model of the demo, no other."""
    others = [c for c in cells if not c.cell.model.dict.get("package")]
    names = _few(_each(str(c.cell.model["name"]) for c in others))
    said = []
    tasks = _sections(c.cell.tasks for c in others)
    if any(_shipped(one["path"]) and any(map(_of_demo, one["names"])) for one in tasks):
        said.append(
            f"{names} would be scored on the demo's tasks, which are made for a model of 135M "
            "parameters and tell larger ones hardly apart: choose tasks=small, tasks=laborde2025 "
            "or tasks.names=[...] of lm-eval"
        )
    if any(_shipped(one.get("path")) for one in _calibrations(others)):
        said.append(
            f"{names} would be calibrated on the demo's text, 32 short samples of Python's "
            "documentation: choose calibration=c4, or calibration.path=FILE with a text of yours"
        )
    return said


def _shipped(path: object) -> bool:
    return str(path or "").startswith(_SHIPPED)


def _of_demo(task: object) -> bool:
    return str(task).startswith("demo_")


def _sections(found: Iterable[Frozen | None]) -> list[dict[str, Any]]:
    """Each distinct section once; thousands of cells share one."""
    distinct = {id(one): one for one in found if one is not None}
    return [one.dict for one in dict.fromkeys(distinct.values())]


def _calibrations(cells: Sequence[PlannedCell]) -> list[dict[str, Any]]:
    return _sections(c.cell.calibration for c in cells)


def _each(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def _model(section: Mapping[str, Any]) -> str:
    name, identity = str(section["name"]), str(section["id"])
    return name if name == identity else f"{name} ({identity})"


def _calibration(section: Mapping[str, Any]) -> str:
    return (
        f"{section['name']}, {section['samples']} samples of {section['length']} tokens, seed "
        f"{section['seed']}"
    )
