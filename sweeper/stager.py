"""The stages that make and judge a cell; what cells share is derived once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sweeper import evaluations, inputs, methods, reshaped, tasks
from sweeper.cells import Cell, Frozen, Pruning, Quantization, removes
from sweeper.errors import BadInput
from sweeper.identity import cache_directory, library, located
from sweeper.methods._profiles import ALLOCATED
from sweeper.pins import Pins
from sweeper.plan import Params, PlannedCell, Stage

_CONVERT = ("transformers", "gguf")
_MEASURE = ("compressed-tensors",)
_LAYERWISE = ("llmcompressor",)
# What a method without calibration takes for a weight: about as long as these many tokens.
_DATA_FREE_TOKENS = 256


class Refused(Exception):
    """A method cannot do what this cell asks of it."""

    def __init__(self, reason: BadInput) -> None:
        self.reason = reason
        super().__init__(str(reason))


class Stager:
    """Derives stages from cells; what cells share is derived once."""

    def __init__(self, pins: Pins) -> None:
        self._pins = pins
        self.stages: dict[str, Stage] = {}
        self._made: dict[tuple[Any, ...], Any] = {}

    def counted(self, cell: Cell) -> Cell:
        """The cell with depth pruning counted in the layers of its model.

        Raises:
            Refused: the model has not so many, or the share is no whole number of them.
        """
        try:
            return reshaped.counted(cell, self._once(self._model, cell.model).shapes)
        except BadInput as reason:
            raise Refused(reason) from None

    def planned(self, cell: Cell) -> PlannedCell:
        """The cell with its stages.

        Raises:
            Refused: its pruning or quantization method cannot do it.
        """
        model = self._once(self._model, cell.model)
        stages: dict[str, Stage] = {}
        parent = self._once(self._convert, cell.model) if model.is_gguf else None
        at_once = cell.quantization and methods.method(cell.quantization.method).prunes
        removed = cell.pruning if cell.pruning and removes(cell.pruning) else None
        last = cell.pruning is not None and cell.pruning.last
        if cell.pruning and not at_once and not last:
            parent = stages["prune"] = self._once(
                self._prune, cell.pruning, cell.model, cell.calibration, parent
            )
        if cell.quantization:
            parent = stages["quantize"] = self._once(
                self._quantize,
                cell.quantization,
                cell.model,
                cell.calibration,
                parent,
                cell.pruning if at_once else None,
                removed,
            )
        if last:
            parent = stages["prune"] = self._once(
                self._prune, cell.pruning, cell.model, cell.calibration, parent
            )
        compressed = (cell.pruning, cell.quantization)
        stages["measure"] = self._once(
            self._measure, cell.model, compressed, parent, stages.get("prune")
        )
        return PlannedCell(
            cell=cell,
            label=cell.label,
            stages=stages,
            tasks=self._once(
                self._evaluations, cell.model, cell.tasks, parent, cell.label, removed, cell.rerun
            ),
        )

    def _once(self, make: Any, *inputs: Any) -> Any:
        key = (make.__name__, *inputs)
        if key not in self._made:
            try:
                self._made[key] = make(*inputs)
            except Refused as refused:
                self._made[key] = refused
        made = self._made[key]
        if isinstance(made, Refused):
            raise made
        return made

    def _stage(self, **fields: Any) -> Stage:
        stage = Stage(**fields)
        return self.stages.setdefault(stage.key, stage)

    def _model(self, section: Frozen) -> inputs.Model:
        return inputs.model(section, self._pins)

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

    def _prune(
        self,
        pruning: Pruning,
        section: Frozen,
        calibration: Frozen | None,
        parent: Stage | None,
    ) -> Stage:
        model = self._once(self._model, section)
        meaning = self._once(self._checked_pruning, pruning, section)
        before = parent if pruning.last else None
        after = reshaped.left(pruning, model.shapes)
        mask = 0 if removes(pruning) else after.linear_parameters / 8
        size = (before.bulk_bytes if before else after.bytes(16)) + mask
        label = f"{before.label} + {pruning.label}" if before else pruning.label
        return self._compression("prune", meaning, label, section, calibration, parent, model, size)

    def _quantize(
        self,
        quant: Quantization,
        section: Frozen,
        calibration: Frozen | None,
        parent: Stage | None,
        pruning: Pruning | None,
        removed: Pruning | None,
    ) -> Stage:
        """``pruning`` is what the quantizer itself is to prune, ``removed`` what is gone."""
        model = self._once(self._model, section)
        meaning = self._once(self._checked_quantization, quant, section, pruning, removed)
        before = parent.label if parent is not None and parent.kind == "prune" else ""
        label = " + ".join(filter(None, (pruning.label if pruning else before, quant.label)))
        mask = 1 if pruning else 0
        after = reshaped.left(removed, model.shapes)
        size = after.bytes(quant.bits + mask + _scale_bits(meaning))
        return self._compression(
            "quantize", meaning, label, section, calibration, parent, model, size
        )

    def _checked_pruning(self, pruning: Pruning, section: Frozen) -> dict[str, Any]:
        return self._checked(reshaped.meaning(pruning), section, None)

    def _checked_quantization(
        self,
        quant: Quantization,
        section: Frozen,
        pruning: Pruning | None,
        removed: Pruning | None,
    ) -> dict[str, Any]:
        amount = (
            {
                "sparsity": pruning.sparsity,
                "pattern": pruning.pattern,
                **_thawed(pruning.options),
            }
            if pruning
            else {}
        )
        return self._checked(
            {
                **amount,
                "method": quant.method,
                "bits": quant.bits,
                "mask": quant.mask,
                **_thawed(quant.options),
            },
            section,
            removed,
        )

    def _checked(
        self, meaning: dict[str, Any], section: Frozen, removed: Pruning | None
    ) -> dict[str, Any]:
        """What a method is to do, unless it cannot."""
        shapes = reshaped.left(removed, self._once(self._model, section).shapes).linear
        refusal = methods.method(meaning["method"]).refusal({**meaning, "shapes": shapes})
        if refusal is not None:
            raise Refused(refusal)
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
        text, path, tokens = {}, None, float(_DATA_FREE_TOKENS)
        if how.calibrated:
            assert calibration is not None
            text["calibration"], path = self._once(self._text, calibration, section)
            tokens = calibration["samples"] * calibration["length"]
            if costed := methods.costed(meaning["method"]):
                tokens *= costed.passes({**meaning, **text, "shapes": model.shapes.linear})
        if meaning.get("profile") == ALLOCATED:
            read["parents"]["sensitivity"] = self._once(
                self._sensitivity, section, calibration, meaning["levels"]
            )
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

    def _sensitivity(self, section: Frozen, calibration: Frozen, levels: int) -> Stage:
        """Errors by matrix and sparsity of the dense model; all allocations share it."""
        model = self._once(self._model, section)
        parent = self._once(self._convert, section) if model.is_gguf else None
        read = self._reads(section, parent)
        text, path = self._once(self._text, calibration, section)
        return self._stage(
            kind="sensitivity",
            params=Params(
                levels=levels,
                calibration=text,
                model=read["meaning"],
                compute_dtype=section["compute_dtype"],
            ),
            parents=read["parents"],
            library=library(_LAYERWISE),
            sources=read["sources"] | ({"calibration": path} if path else {}),
            label=section["name"],
            work=float(model.shapes.linear_parameters)
            * (calibration["samples"] * calibration["length"]),
        )

    def _text(self, calibration: Frozen, section: Frozen) -> tuple[dict[str, Any], str | None]:
        found = inputs.calibration(calibration, self._pins)
        inputs.check_tokens(calibration, self._once(self._model, section))
        return found

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
        inputs = {k: v for k, v in options.items() if k == "activation_bits"}
        return Params(
            **inputs,
            model=self._once(self._model, model).meaning if model else {},
            sparsity=pruning.sparsity if pruning else 0.0,
            pattern=pruning.pattern if pruning else "unstructured",
            bits=quant.bits if quant else 16,
            group_size=options.get("group_size"),
            symmetric=options.get("symmetric"),
            mask=quant.mask if quant else "none",
        )

    def _evaluations(
        self,
        model: Frozen,
        section: Frozen,
        parent: Stage | None,
        label: str,
        removed: Pruning | None,
        rerun: int,
    ) -> dict[str, Stage]:
        read = self._reads(model, parent)
        left = reshaped.left(removed, self._once(self._model, model).shapes)
        reads = evaluations.Reads(
            parents=read["parents"],
            sources=read["sources"],
            parameters=float(left.parameters),
            label=label,
        )
        asked = self._once(self._asked, section, None if read["parents"] else model, rerun)
        return {each.leaf.name: evaluations.stage(each, reads, add=self._stage) for each in asked}

    def _asked(self, section: Frozen, model: Frozen | None, rerun: int) -> list[evaluations.Asked]:
        """What the evaluation of each leaf task means; the same for all checkpoints."""
        evaluations.check(section)
        folder = self._once(self._folder, section)
        leaves = tasks.resolve(section["names"], folder, cache_dir=cache_directory())
        meaning = self._once(self._model, model).meaning if model else {}
        pinned = self._pins.tasks
        return [
            evaluations.asked(leaf, section, meaning, pinned.get(leaf.name, {}), rerun)
            for leaf in leaves
        ]

    def _folder(self, section: Frozen) -> Path | None:
        return located(section["path"], "tasks.path") if section["path"] else None


def _thawed(options: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return Frozen(tuple(options)).dict


def _scale_bits(meaning: dict[str, Any]) -> float:
    """Bits per weight that the scales of a quantizer take: 16 for a group, unless it says."""
    how = methods.method(meaning["method"])
    if isinstance(how, methods.ByLoading):
        return how.scale_bits(meaning)
    group = meaning.get("group_size", -1)
    return 16 / group if group > 0 else 0.0
