"""The stages that make and judge a cell; what cells share is derived once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeper import methods
from sweeper.config.section import Frozen
from sweeper.errors import BadInput, Refused
from sweeper.inputs import resolve
from sweeper.inputs.pins import Pins
from sweeper.inputs.tasks import catalog
from sweeper.planning import external_checkpoint
from sweeper.planning.cells import shape_inference
from sweeper.planning.cells.cell import Cell
from sweeper.planning.cells.pruning import Pruning
from sweeper.planning.cells.quantization import Quantization
from sweeper.planning.plan import Params, PlannedCell, Stage
from sweeper.planning.stages import evaluation
from sweeper.planning.stages.compression import Compressions, check_matrices
from sweeper.planning.stages.context import Shared
from sweeper.store.hashing import cache_directory, library, located

_MEASURE = ("compressed-tensors",)


class Stager:
    """Derives stages from cells; what cells share is derived once."""

    def __init__(self, pins: Pins, kernels: str = "") -> None:
        self._shared = Shared(pins, kernels)
        self._compressions = Compressions(self._shared)
        self._once = self._shared.once

    @property
    def stages(self) -> dict[str, Stage]:
        """Key -> stage, of all cells so far."""
        return self._shared.stages

    def notes(self, cell: Cell) -> list[str]:
        """What is odd about the model of a cell, and harmless."""
        return [f"{cell.model['name']}: {note}" for note in self._shared.start(cell.model).notes]

    def counted(self, cell: Cell) -> Cell:
        """The cell with depth pruning counted in the layers of its model.

        Raises:
            Refused: the model has not so many, or the share is no whole number of them.
        """
        model = self._shared.model(cell.model)
        if cell.pruning is not None and model.seen is not None:
            check_matrices(cell.model, model.seen, methods.method(cell.pruning.method))
        try:
            return shape_inference.counted(cell, model.shapes)
        except BadInput as reason:
            raise Refused(reason) from None

    def planned(self, cell: Cell) -> PlannedCell:
        """The cell with its stages.

        Raises:
            Refused: its pruning or quantization method cannot do it.
        """
        if external_checkpoint.given(cell.model):
            return self._adopted(cell)
        dense = self._shared.dense(cell.model)
        stages = self._compressions.of(cell, dense)
        parent = [dense, *stages.values()][-1]
        removed = cell.pruning if cell.pruning and cell.pruning.removes else None
        amounts = (cell.pruning, cell.quantization)
        stages["measure"] = self._once(
            self._measure, cell.model, amounts, parent, stages.get("prune")
        )
        return PlannedCell(
            cell=cell,
            label=cell.label,
            stages=stages,
            tasks=self._once(
                self._evaluations, cell.model, cell.tasks, parent, cell.label, removed, cell.rerun
            ),
            groups=self._once(self._groups, cell.tasks),
            scale_bits=self._compressions.scale_bits(cell),
        )

    def _adopted(self, cell: Cell) -> PlannedCell:
        """The cell of a checkpoint that was compressed elsewhere: it is measured and scored.

        Raises:
            BadInput: the checkpoint is not what the cell says.
        """
        # What it was calibrated with is not known.
        cell = replace(cell, calibration=None)
        self._shared.elsewhere[cell.model] = external_checkpoint.resolved(cell, self._shared.pins)
        amounts = (cell.pruning, cell.quantization)
        return PlannedCell(
            cell=cell,
            label=cell.label,
            stages={"measure": self._measure(cell.model, amounts, None, None, cell.label)},
            tasks=self._evaluations(cell.model, cell.tasks, None, cell.label, None, 0),
            groups=self._once(self._groups, cell.tasks),
            scale_bits=self._compressions.scale_bits(cell),
        )

    def _measure(
        self,
        section: Frozen,
        amounts: tuple[Pruning | None, Quantization | None],
        parent: Stage | None,
        pruned: Stage | None,
        label: str = "",
    ) -> Stage:
        read = self._shared.reads(section, parent)
        if pruned is not None and pruned is not parent:
            read["parents"]["pruned"] = pruned
        if not read["parents"] and (before := external_checkpoint.before(section)):
            read["sources"]["pruned"] = str(before.path)
        return self._shared.stage(
            kind="measure",
            params=self._once(self._measured, section, amounts, bool(read["parents"])),
            parents=read["parents"],
            library=library(_MEASURE),
            sources=read["sources"],
            label=parent.label if parent is not None else label or section["name"],
            work=float(self._shared.model(section).shapes.parameters),
        )

    def _measured(
        self,
        model: Frozen,
        amounts: tuple[Pruning | None, Quantization | None],
        has_parents: bool,
    ) -> Params:
        pruning, quant = amounts
        options = dict(quant.options) if quant else {}
        more: dict[str, Any] = {k: options[k] for k in ("activation_bits",) if k in options}
        if quant and quant.mixed:
            more["widths"] = Frozen(quant.options)["widths"]
        if pruning and pruning.removes and "profile" in dict(pruning.options):
            more["profile"] = dict(pruning.options)["profile"]
        if not has_parents and external_checkpoint.given(model):
            before = external_checkpoint.before(model)
            more["elsewhere"] = {"mask": before.sha256 if before else None}
        return Params(
            **more,
            model=self._model_meaning(model, has_parents),
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
        read = self._shared.reads(model, parent)
        left = shape_inference.left(removed, self._shared.model(model).shapes)
        reads = evaluation.Reads(
            parents=read["parents"],
            sources=read["sources"],
            parameters=float(left.parameters),
            label=label,
        )
        self._check_template(section, model)
        asked = self._once(self._asked, section, model, bool(read["parents"]), rerun)
        return {
            each.leaf.name: evaluation.stage(each, reads, add=self._shared.stage) for each in asked
        }

    def _check_template(self, section: Frozen, model: Frozen) -> None:
        """Refuse to wrap prompts in a chat template that the model does not have.

        Raises:
            Refused: it has none.
        """
        seen = self._shared.start(model).seen
        if section["apply_chat_template"] and section["names"] and seen and not seen.chat_template:
            raise Refused(
                BadInput(
                    "tasks.apply_chat_template",
                    True,
                    f"the tokenizer of {model['name']} has no chat template.",
                    "Set tasks.apply_chat_template=false for this model.",
                )
            )

    def _model_meaning(self, model: Frozen, has_parents: bool) -> dict[str, Any]:
        """What the model is, where no other stage says so; its code runs in every stage."""
        return resolve.trust(model) if has_parents else self._shared.start(model).meaning

    def _asked(
        self, section: Frozen, model: Frozen, has_parents: bool, rerun: int
    ) -> list[evaluation.Asked]:
        """What the evaluation of each leaf task means; the same for all checkpoints."""
        evaluation.check(section)
        meaning = self._model_meaning(model, has_parents)
        pinned = self._shared.pins.tasks
        return [
            evaluation.asked(leaf, section, meaning, pinned.get(leaf.name, {}), rerun)
            for leaf in self._once(self._leaves, section)
        ]

    def _leaves(self, section: Frozen) -> list[catalog.LeafTask]:
        folder = self._once(self._folder, section)
        return catalog.resolve(section["names"], folder, cache_dir=cache_directory())

    def _groups(self, section: Frozen) -> dict[str, list[str]]:
        """Group -> its leaf tasks."""
        found: dict[str, list[str]] = {}
        for leaf in self._once(self._leaves, section):
            if leaf.group:
                found.setdefault(leaf.group, []).append(leaf.name)
        return found

    def _folder(self, section: Frozen) -> Path | None:
        return located(section["path"], "tasks.path") if section["path"] else None
