"""From combinations to the plan: cells, what is no cell and why, labels that tell cells apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sweeper.config import reproducible
from sweeper.config.grid import Combination, Grid, block_overrides
from sweeper.config.hydra_internals import ConfigLoaderImpl
from sweeper.config.section import Frozen
from sweeper.errors import BadInput, NoCell, Refused, Untreatable
from sweeper.inputs.pins import Pins
from sweeper.modeling.kernels import PORTABLE
from sweeper.planning.cells import basis
from sweeper.planning.cells.cell import Cell, CellMaker
from sweeper.planning.cells.pruning import Pruning
from sweeper.planning.cells.quantization import Quantization
from sweeper.planning.plan import Dropped, Plan, PlannedCell, Stage, lineage
from sweeper.planning.stages import repeated_evaluation
from sweeper.planning.stages.factory import Stager


def build(
    blocks: Iterable[tuple[Iterable[Combination], bool]],
    pins: Pins,
    elsewhere: Mapping[tuple[str, str], Mapping[str, str]] | None = None,
    *,
    kernels: str = "",
) -> Plan:
    """The plan of all combinations.

    Args:
        blocks: (combinations, strict); in a strict block (cells listed outright, a single
            combination) what is no cell is bad input instead of being dropped.
        pins: the revisions that the sweep takes from the hub.
        elsewhere: (model, label) of a cell -> keys of its model, where its checkpoint was
            compressed elsewhere and imported (`Sweep.elsewhere`).
        kernels: those that the stages ask for, see `Stage`.

    Raises:
        BadInput: a value that is never valid, or no cell at all is left.
    """
    maker, stager = CellMaker(), Stager(pins, kernels)
    planned: dict[Cell, PlannedCell] = {}
    dropped: list[Dropped] = []
    merged: list[Dropped] = []
    refusals: list[Refused] = []
    again: dict[str, int] = {}
    for combinations, strict in blocks:
        for combination in combinations:
            try:
                cell = stager.counted(maker.cell(combination.sections))
                if cell in planned:
                    same = f"the same cell as {planned[cell].label}"
                    merged.append(Dropped(overrides=combination.overrides, reason=same))
                else:
                    planned[cell] = stager.planned(cell)
                count = repeated_evaluation.asked(combination.sections["tasks"])
                again[cell.model["name"]] = max(count, again.get(cell.model["name"], 0))
                planned |= {one: stager.planned(one) for one in repeated_evaluation.of(cell, count)}
            except Refused as refused:
                if strict:
                    raise refused.reason from None
                refusals.append(refused)
                dropped.append(Dropped(overrides=combination.overrides, reason=str(refused)))
            except NoCell as reason:
                if strict:
                    raise _not_a_cell(combination, str(reason)) from None
                dropped.append(Dropped(overrides=combination.overrides, reason=str(reason)))
    _check_refusals(refusals, planned)
    _check_backends(planned)
    if not planned:
        raise _no_cells(dropped)
    repeated_evaluation.check(planned, again)
    cells = tuple(_read(cell, stager, elsewhere or {}) for cell in _distinct(planned.values()))
    return Plan(
        cells=cells,
        stages=_reachable(cells, stager.stages),
        dropped=tuple(dropped),
        merged=tuple(merged),
        notes=tuple(dict.fromkeys(note for cell in cells for note in stager.notes(cell.cell))),
    )


def _read(
    planned: PlannedCell,
    stager: Stager,
    elsewhere: Mapping[tuple[str, str], Mapping[str, str]],
) -> PlannedCell:
    """The cell, of its imported checkpoint if there is one."""
    where = elsewhere.get((planned.cell.model["name"], planned.label))
    if where is None or planned.cell.model.dict.get("compressed"):
        return planned
    section = Frozen.of(planned.cell.model.dict | dict(where))
    found = stager.planned(replace(planned.cell, model=section))
    return replace(found, label=planned.label)


def _reachable(cells: Iterable[PlannedCell], stages: Mapping[str, Stage]) -> dict[str, Stage]:
    """The stages that some cell rests on, parents before children."""
    found = lineage(stage for cell in cells for stage in cell.all_stages())
    return {key: stage for key, stage in stages.items() if key in found}


def _not_a_cell(combination: Combination, reason: str) -> BadInput:
    asked = " ".join(combination.overrides) or "this configuration"
    return BadInput("cell", asked, f"this is no cell: {reason}.")


def _check_refusals(refusals: Sequence[Refused], planned: Mapping[Cell, PlannedCell]) -> None:
    """A value that no cell of the whole grid can use is a mistake, not a gap of the grid."""
    if not refusals:
        return
    used = {pair for cell in planned for pair in _used(cell)}
    treated = any(cell.pruning or cell.quantization for cell in planned)
    for refused in refusals:
        if isinstance(refused, Untreatable) and treated:
            continue  # one model that cannot drops its own cells only
        if (refused.reason.key, str(refused.reason.value)) not in used:
            raise refused.reason


def _check_backends(cells: Iterable[Cell]) -> None:
    """Two backends give other numbers for the same model: no ratio may hold both."""
    used: dict[str, set[str]] = {}
    for cell in cells:
        if cell.tasks["names"]:
            used.setdefault(cell.model["name"], set()).add(cell.tasks["backend"])
    for model, backends in used.items():
        if len(backends) > 1:
            raise BadInput(
                "tasks.backend",
                ",".join(sorted(backends)),
                f"the cells of {model} are compared with one another, and two backends give two "
                "scores for one model.",
                "Use one backend in a sweep; another one in a sweep of another name.",
            )


def _used(cell: Cell) -> Iterable[tuple[str, str]]:
    yield "tasks.apply_chat_template", str(cell.tasks["apply_chat_template"])
    for kind, own in basis.steps(cell.model).items():
        yield from ((f"{kind}.{k}", str(v)) for k, v in own.items())
    if cell.calibration:
        yield "calibration.length", str(cell.calibration["length"])
    if cell.pruning:
        yield "prune.method", cell.pruning.method
        yield "prune.pattern", cell.pruning.pattern
        yield "prune.sparsity", f"{100 * cell.pruning.sparsity:g}"
        yield from ((f"prune.{k}", str(v)) for k, v in cell.pruning.options)
    if cell.quantization:
        yield "quant.method", cell.quantization.method
        yield "quant.bits", str(cell.bits)
        yield from ((f"quant.{k}", str(v)) for k, v in cell.quantization.options)


def _no_cells(dropped: list[Dropped]) -> BadInput:
    reasons = [f"{reason} ({count})" for reason, count in _counted(dropped).most_common(5)]
    return BadInput(
        "grid",
        f"{len(dropped)} combinations",
        "no cell is left after dropping those that are no cells: " + "; ".join(reasons) + ".",
    )


def _counted(dropped: Iterable[Dropped]) -> Counter[str]:
    return Counter(item.reason for item in dropped)


def _distinct(planned: Iterable[PlannedCell]) -> tuple[PlannedCell, ...]:
    """Give cells of one model that share a label the values in which they differ."""
    cells = list(planned)
    groups: dict[tuple[str, str], list[PlannedCell]] = {}
    for item in cells:
        groups.setdefault((item.cell.model["name"], item.label), []).append(item)
    renamed: dict[int, PlannedCell] = {}
    for group in groups.values():
        if len(group) > 1:
            for item, suffix in zip(group, _differences(group), strict=True):
                renamed[id(item)] = replace(item, label=f"{item.label} [{suffix}]")
    return tuple(renamed.get(id(item), item) for item in cells)


def _differences(group: Sequence[PlannedCell]) -> list[str]:
    """What tells each of some cells from the others: "seed=1, group_size=64"."""
    columns = [
        _column([getattr(item.cell, name) for item in group])
        for name in ("model", "calibration", "tasks", "pruning", "quantization")
    ]
    return [", ".join(filter(None, row)) for row in zip(*columns, strict=True)]


def _column(parts: Sequence[Any]) -> list[str]:
    """The same of one part of the cells; most of them share few parts, which are read once."""
    flat = {id(part): _flat(part) for part in parts}
    first, others = flat[id(parts[0])], list(flat.values())
    keys = [k for k in first if len({str(other.get(k)) for other in others}) > 1]
    words = {
        number: ", ".join(f"{key}={values.get(key)}" for key in keys)
        for number, values in flat.items()
    }
    return [words[id(part)] for part in parts]


def _flat(part: Frozen | Pruning | Quantization | None) -> dict[str, Any]:
    """Everything that can tell a part of two cells of one label apart."""
    if part is None:
        return {}
    if isinstance(part, Frozen):
        return dict(part.dict)
    return {"method": part.method, **Frozen(part.options).dict}


_UNPINNED = Pins()


def plan(
    config: DictConfig,
    loader: ConfigLoaderImpl,
    arguments: Sequence[str],
    pins: Pins = _UNPINNED,
    elsewhere: Mapping[tuple[str, str], Mapping[str, str]] | None = None,
) -> Plan:
    """The plan of everything that the configuration and the overrides name.

    Without ``cells`` and ``grids`` that is the product of the overrides; with them, each
    block is multiplied with the axes of the overrides.

    Raises:
        BadInput: see `build`; also an override of a key that a block sets.
    """
    grid = Grid(loader, config)
    blocks = _blocks(config, grid, arguments)
    if not config.reproducible:
        return build(blocks, pins, elsewhere)
    reproducible.check(arguments, [*_maps(config["cells"]), *_maps(config["grids"])])
    alike = ((reproducible.in_float32(each), strict) for each, strict in blocks)
    made = build(alike, pins, elsewhere, kernels=PORTABLE)
    return replace(made, notes=(*made.notes, reproducible.NOTE))


def _blocks(
    config: DictConfig, grid: Grid, arguments: Sequence[str]
) -> Iterator[tuple[Iterable[Combination], bool]]:
    cells, grids = (_maps(config[name]) for name in ("cells", "grids"))
    if not cells and not grids:
        combinations = list(grid.expand(arguments))
        yield combinations, len(combinations) == 1
    for block in grids:
        _check_overlap(config, block, arguments)
        yield grid.expand(arguments, block_overrides(block, swept=True)), False
    for block in cells:
        _check_overlap(config, block, arguments)
        yield grid.expand(arguments, block_overrides(block, swept=False)), True


def _maps(blocks: Any) -> list[Mapping[str, Any]]:
    found = OmegaConf.to_container(blocks, resolve=True)
    assert isinstance(found, list)
    return found


def _check_overlap(config: DictConfig, block: Mapping[str, Any], arguments: Sequence[str]) -> None:
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key in block:
            raise BadInput(
                key,
                value,
                f"the sweep {config.name or ''} lists its own cells, and they set {key}.",
                "Leave the override out, or use a grid (experiment=grid) instead.",
            )
