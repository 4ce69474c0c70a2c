"""From cells to the stages that make and judge them, each distinct stage once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sweeper import inputs, methods, tasks
from sweeper.cells import Cell, CellMaker, Frozen, NoCell, Pruning, Quantization
from sweeper.errors import BadInput
from sweeper.grid import Combination
from sweeper.identity import cache_directory, library, located
from sweeper.plan import Dropped, Params, Plan, PlannedCell, Stage, lineage

_CONVERT = ("transformers", "gguf")
_MEASURE = ("compressed-tensors",)
# What a method without calibration takes for a weight: about as long as these many tokens.
_DATA_FREE_TOKENS = 256


class _Refused(Exception):
    """A method cannot do what this cell asks of it."""

    def __init__(self, reason: BadInput) -> None:
        self.reason = reason
        super().__init__(str(reason))


def build(
    blocks: Iterable[tuple[Iterable[Combination], bool]],
    later: Iterable[Mapping[str, str]] = (),
) -> Plan:
    """The plan of all combinations.

    Args:
        blocks: (combinations, strict); in a strict block (cells listed outright, a single
            combination) what is no cell is bad input instead of being dropped.
        later: cells of a source that no method here can do yet; passed through.

    Raises:
        BadInput: a value that is never valid, or no cell at all is left.
    """
    maker, stager = CellMaker(), _Stager()
    planned: dict[Cell, PlannedCell] = {}
    dropped: list[Dropped] = []
    merged: list[Dropped] = []
    refusals: list[BadInput] = []
    for combinations, strict in blocks:
        for combination in combinations:
            try:
                cell = maker.cell(combination.sections)
                if cell in planned:
                    same = f"the same cell as {planned[cell].label}"
                    merged.append(Dropped(overrides=combination.overrides, reason=same))
                else:
                    planned[cell] = stager.planned(cell)
            except _Refused as refused:
                if strict:
                    raise refused.reason from None
                refusals.append(refused.reason)
                dropped.append(Dropped(overrides=combination.overrides, reason=str(refused)))
            except NoCell as reason:
                if strict:
                    raise _not_a_cell(combination, str(reason)) from None
                dropped.append(Dropped(overrides=combination.overrides, reason=str(reason)))
    _check_refusals(refusals, planned)
    if not planned:
        raise _no_cells(dropped)
    return Plan(
        cells=_distinct(planned.values()),
        stages=_reachable(planned.values(), stager.stages),
        dropped=tuple(dropped),
        merged=tuple(merged),
        later=tuple(later),
    )


class _Stager:
    """Derives stages from cells; what cells share is derived once."""

    def __init__(self) -> None:
        self.stages: dict[str, Stage] = {}
        self._made: dict[tuple[Any, ...], Any] = {}

    def planned(self, cell: Cell) -> PlannedCell:
        """The cell with its stages.

        Raises:
            _Refused: its pruning or quantization method cannot do it.
        """
        model = self._once(self._model, cell.model)
        stages: dict[str, Stage] = {}
        parent = self._once(self._convert, cell.model) if model.is_gguf else None
        if cell.pruning:
            parent = stages["prune"] = self._once(
                self._prune, cell.pruning, cell.model, cell.calibration
            )
        if cell.quantization:
            parent = stages["quantize"] = self._once(
                self._quantize, cell.quantization, cell.model, cell.calibration, parent
            )
        compressed = (cell.pruning, cell.quantization)
        stages["measure"] = self._once(
            self._measure, cell.model, compressed, parent, stages.get("prune")
        )
        return PlannedCell(
            cell=cell,
            label=cell.label,
            stages=stages,
            tasks=self._once(self._evaluations, cell.model, cell.tasks, parent, cell.label),
        )

    def _once(self, make: Any, *inputs: Any) -> Any:
        key = (make.__name__, *inputs)
        if key not in self._made:
            try:
                self._made[key] = make(*inputs)
            except _Refused as refused:
                self._made[key] = refused
        made = self._made[key]
        if isinstance(made, _Refused):
            raise made
        return made

    def _stage(self, **fields: Any) -> Stage:
        stage = Stage(**fields)
        return self.stages.setdefault(stage.key, stage)

    def _model(self, section: Frozen) -> inputs.Model:
        return inputs.model(section)

    def _reads(self, section: Frozen, parent: Stage | None) -> dict[str, Any]:
        """How a stage refers to the checkpoint it reads: a parent, or the model as it is."""
        if parent is not None:
            return {"parents": {"model": parent}, "meaning": {}, "sources": {}}
        model = self._once(self._model, section)
        return {"parents": {}, "meaning": model.meaning, "sources": {"model": model.source}}

    def _convert(self, section: Frozen) -> Stage:
        model = self._once(self._model, section)
        return self._stage(
            kind="convert",
            params=Params(file_sha256=model.meaning["sha256"], dtype=section["save_dtype"]),
            parents={},
            library=library(_CONVERT),
            sources={"gguf": model.source},
            label=section["name"],
            work=float(model.shapes.parameters),
            bulk_bytes=model.shapes.bytes(16),
        )

    def _prune(self, pruning: Pruning, section: Frozen, calibration: Frozen | None) -> Stage:
        model = self._once(self._model, section)
        parent = self._once(self._convert, section) if model.is_gguf else None
        meaning = self._once(self._checked_pruning, pruning, section)
        size = model.shapes.bytes(16) + model.shapes.linear_parameters / 8
        return self._compression(
            "prune", meaning, pruning.label, section, calibration, parent, model, size
        )

    def _quantize(
        self,
        quant: Quantization,
        section: Frozen,
        calibration: Frozen | None,
        parent: Stage | None,
    ) -> Stage:
        model = self._once(self._model, section)
        meaning = self._once(self._checked_quantization, quant, section)
        before = f"{parent.label} + " if parent is not None and parent.kind == "prune" else ""
        label = before + quant.label
        group = meaning.get("group_size", -1)
        size = model.shapes.bytes(quant.bits + (16 / group if group > 0 else 0))
        return self._compression(
            "quantize", meaning, label, section, calibration, parent, model, size
        )

    def _checked_pruning(self, pruning: Pruning, section: Frozen) -> dict[str, Any]:
        return self._checked(
            {
                "method": pruning.method,
                "sparsity": pruning.sparsity,
                "pattern": pruning.pattern,
                **_thawed(pruning.options),
            },
            section,
        )

    def _checked_quantization(self, quant: Quantization, section: Frozen) -> dict[str, Any]:
        return self._checked(
            {
                "method": quant.method,
                "bits": quant.bits,
                "mask": quant.mask,
                **_thawed(quant.options),
            },
            section,
        )

    def _checked(self, meaning: dict[str, Any], section: Frozen) -> dict[str, Any]:
        """What a method is to do, unless it cannot."""
        shapes = self._once(self._model, section).shapes.linear
        refusal = methods.method(meaning["method"]).refusal({**meaning, "shapes": shapes})
        if refusal is not None:
            raise _Refused(refusal)
        return meaning

    def _compression(
        self,
        kind: str,
        meaning: dict[str, Any],
        label: str,
        section: Frozen,
        calibration: Frozen | None,
        parent: Stage | None,
        model: inputs.Model,
        bulk_bytes: float,
    ) -> Stage:
        how = methods.method(meaning["method"])
        read = self._reads(section, parent)
        text, path, tokens = {}, None, _DATA_FREE_TOKENS
        if how.calibrated:
            assert calibration is not None
            text["calibration"], path = self._once(inputs.calibration, calibration)
            tokens = calibration["samples"] * calibration["length"]
        return self._stage(
            kind=kind,
            params=Params(
                **meaning,
                **text,
                model=read["meaning"],
                compute_dtype=section["compute_dtype"],
                save_dtype=section["save_dtype"],
            ),
            parents=read["parents"],
            library=library(how.packages),
            sources=read["sources"] | ({"calibration": path} if path else {}),
            label=label,
            work=float(model.shapes.linear_parameters) * tokens,
            bulk_bytes=bulk_bytes,
        )

    def _measure(
        self,
        section: Frozen,
        compressed: tuple[Pruning | None, Quantization | None],
        parent: Stage | None,
        pruned: Stage | None,
    ) -> Stage:
        read = self._reads(section, parent)
        if pruned is not None and pruned is not parent:
            read["parents"]["pruned"] = pruned
        model = None if read["parents"] else section
        return self._stage(
            kind="measure",
            params=self._once(self._measured, model, compressed),
            parents=read["parents"],
            library=library(_MEASURE),
            sources=read["sources"],
            label=parent.label if parent is not None else section["name"],
            work=float(self._once(self._model, section).shapes.parameters),
        )

    def _measured(
        self, model: Frozen | None, compressed: tuple[Pruning | None, Quantization | None]
    ) -> Params:
        pruning, quant = compressed
        options = dict(quant.options) if quant else {}
        return Params(
            model=self._once(self._model, model).meaning if model else {},
            sparsity=pruning.sparsity if pruning else 0.0,
            pattern=pruning.pattern if pruning else "unstructured",
            bits=quant.bits if quant else 16,
            group_size=options.get("group_size"),
            symmetric=options.get("symmetric"),
            mask=quant.mask if quant else "none",
        )

    def _leaves(self, section: Frozen) -> list[tasks.LeafTask]:
        _check_tasks(section)
        folder = self._once(self._folder, section)
        return tasks.resolve(section["names"], folder, cache_dir=cache_directory())

    def _folder(self, section: Frozen) -> Path | None:
        return located(section["path"], "tasks.path") if section["path"] else None

    def _evaluations(
        self, model: Frozen, section: Frozen, parent: Stage | None, label: str
    ) -> dict[str, Stage]:
        read = self._reads(model, parent)
        parameters = self._once(self._model, model).shapes.parameters
        folder = self._once(self._folder, section)
        where = {"tasks": str(folder)} if folder else {}
        return {
            leaf.name: self._stage(
                kind="evaluate",
                params=params,
                parents=read["parents"],
                library=library(("lm-eval", "transformers")),
                sources=read["sources"] | where,
                label=label,
                work=float(parameters) * (leaf.documents or 1000),
            )
            for leaf, params in self._once(
                self._scored, section, None if read["parents"] else model
            )
        }

    def _scored(self, section: Frozen, model: Frozen | None) -> list[tuple[tasks.LeafTask, Params]]:
        """The leaf tasks, each with what its evaluation means; the same for all checkpoints."""
        names = (
            *("backend", "dtype", "batch_size", "limit", "num_fewshot", "apply_chat_template"),
            *("max_gen_toks", "order_seed", "block"),
        )
        how = {name: section[name] for name in names}
        meaning = self._once(self._model, model).meaning if model else {}
        return [
            (leaf, Params(**how, task=leaf.name, task_sha256=leaf.sha256, model=meaning))
            for leaf in self._once(self._leaves, section)
        ]


def _reachable(cells: Iterable[PlannedCell], stages: Mapping[str, Stage]) -> dict[str, Stage]:
    """The stages that some cell rests on, parents before children."""
    found = lineage(stage for cell in cells for stage in cell.all_stages())
    return {key: stage for key, stage in stages.items() if key in found}


def _check_tasks(section: Frozen) -> None:
    inputs.check_choice("tasks.backend", section["backend"], ("hf",))
    inputs.check_choice("tasks.dtype", section["dtype"], inputs.DTYPES)
    for name in ("batch_size", "limit", "block", "max_gen_toks"):
        if section[name] is not None and section[name] < 1:
            raise BadInput(f"tasks.{name}", section[name], "at least 1 is needed.")


def _thawed(options: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return Frozen(tuple(options)).dict


def _not_a_cell(combination: Combination, reason: str) -> BadInput:
    asked = " ".join(combination.overrides) or "this configuration"
    return BadInput("cell", asked, f"this is no cell: {reason}.")


def _check_refusals(refusals: Iterable[BadInput], planned: Mapping[Cell, PlannedCell]) -> None:
    """A value that no cell of the whole grid can use is a mistake, not a gap of the grid."""
    used = {pair for cell in planned for pair in _used(cell)}
    for refusal in refusals:
        if (refusal.key, str(refusal.value)) not in used:
            raise refusal


def _used(cell: Cell) -> Iterable[tuple[str, str]]:
    if cell.pruning:
        yield "prune.pattern", cell.pruning.pattern
        yield from ((f"prune.{k}", str(v)) for k, v in cell.pruning.options)
    if cell.quantization:
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
            flat = [_flat(item.cell) for item in group]
            keys = [k for k in flat[0] if len({str(f.get(k)) for f in flat}) > 1]
            for item, values in zip(group, flat, strict=True):
                suffix = ", ".join(f"{k.split('.')[-1]}={values.get(k)}" for k in keys)
                renamed[id(item)] = PlannedCell(
                    cell=item.cell,
                    label=f"{item.label} [{suffix}]",
                    stages=item.stages,
                    tasks=item.tasks,
                )
    return tuple(renamed.get(id(item), item) for item in cells)


def _flat(cell: Cell) -> dict[str, Any]:
    """Everything that can tell two cells of one label apart, by dotted key."""
    sections = {"model": cell.model, "calibration": cell.calibration, "tasks": cell.tasks}
    flat = {f"{s}.{k}": v for s, frozen in sections.items() if frozen for k, v in frozen.items}
    for name, part in (("prune", cell.pruning), ("quant", cell.quantization)):
        if part:
            flat |= {f"{name}.method": part.method}
            flat |= {f"{name}.{k}": v for k, v in part.options}
    return flat
