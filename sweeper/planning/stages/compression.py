"""The stages that compress a model, and what they need measured before: prune, quantize."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeper import methods
from sweeper.config.section import Frozen
from sweeper.errors import BadInput, Refused, Untreatable
from sweeper.inputs import look
from sweeper.methods.profiles import ALLOCATED, LOSS, LOW_RANK
from sweeper.modeling.shapes import Shapes
from sweeper.planning.cells import shape_inference
from sweeper.planning.cells.cell import Cell
from sweeper.planning.cells.pruning import Pruning
from sweeper.planning.cells.quantization import Quantization
from sweeper.planning.plan import Params, Stage
from sweeper.planning.stages.context import Shared
from sweeper.store.hashing import library

PLAIN = "Linear"
# What a method without calibration takes for a weight: about as long as these many tokens.
_DATA_FREE_TOKENS = 700


class Compressions:
    """Derives the compressing stages of cells; cells that start alike share them."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def of(self, cell: Cell, dense: Stage | None) -> dict[str, Stage]:
        """The stages of a cell by their kind, in the order in which they run.

        Args:
            cell: the cell.
            dense: the stage that makes its dense model, if one does.

        Raises:
            Refused: its pruning or quantization method cannot do it.
        """
        once, how = self._shared.once, (cell.model, cell.calibration)
        quant, pruning = cell.quantization, cell.pruning
        at_once = pruning if quant and methods.method(quant.method).prunes else None
        removed = pruning if pruning and pruning.removes else None
        stages: dict[str, Stage] = {}
        parent = dense
        if pruning and not at_once and not pruning.last:
            parent = stages["prune"] = once(self._prune, pruning, *how, parent)
        if quant:
            parent = stages["quantize"] = once(
                self._quantize, quant, *how, parent, at_once, removed
            )
        if pruning and pruning.last:
            stages["prune"] = once(self._prune, pruning, *how, parent)
        return stages

    def scale_bits(self, cell: Cell) -> float | None:
        """Bits that scales and zero points take per linear weight of the dense model.

        None where nothing is quantized.
        """
        if cell.quantization is None:
            return None
        removed = cell.pruning if cell.pruning and cell.pruning.removes else None
        found: float = self._shared.once(
            self._scale_bits_of_dense, cell.quantization, cell.model, removed
        )
        return found

    def _scale_bits_of_dense(
        self, quant: Quantization, section: Frozen, removed: Pruning | None
    ) -> float:
        shapes = self._shared.model(section).shapes
        left = shape_inference.left(removed, shapes)
        bits = _scale_bits(quant, section, left) * left.linear_parameters
        return bits / shapes.linear_parameters if bits else 0.0

    def _prune(
        self,
        pruning: Pruning,
        section: Frozen,
        calibration: Frozen | None,
        parent: Stage | None,
    ) -> Stage:
        shapes = self._shared.model(section).shapes
        meaning = self._shared.once(self._checked_pruning, pruning, section)
        before = parent if pruning.last else None
        after = shape_inference.left(pruning, shapes)
        mask = 0 if pruning.removes else after.linear_parameters / 8
        size = (before.bulk_bytes if before else after.bytes(16)) + mask
        label = f"{before.label} + {pruning.label}" if before else pruning.label
        return self._stage("prune", meaning, label, section, calibration, parent, size)

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
        meaning = self._shared.once(self._checked_quantization, quant, section, pruning, removed)
        before = parent.label if parent is not None and parent.kind == "prune" else ""
        label = " + ".join(filter(None, (pruning.label if pruning else before, quant.label)))
        mask = 1 if pruning else 0
        after = shape_inference.left(removed, self._shared.model(section).shapes)
        size = after.bytes(quant.bits + mask + _scale_bits(quant, section, after))
        return self._stage("quantize", meaning, label, section, calibration, parent, size)

    def _checked_pruning(self, pruning: Pruning, section: Frozen) -> dict[str, Any]:
        return self._checked(shape_inference.meaning(pruning), section, None)

    def _checked_quantization(
        self,
        quant: Quantization,
        section: Frozen,
        pruning: Pruning | None,
        removed: Pruning | None,
    ) -> dict[str, Any]:
        amount = shape_inference.meaning(pruning) if pruning else {}
        own = {"method": quant.method, "bits": quant.bits, "mask": quant.mask}
        meaning = {**amount, **own, **Frozen(quant.options).dict}
        if removed and (refusal := refuse_groups(meaning, shape_inference.meaning(removed))):
            raise Refused(refusal)
        return self._checked(meaning, section, removed)

    def _checked(
        self, meaning: dict[str, Any], section: Frozen, removed: Pruning | None
    ) -> dict[str, Any]:
        """What a method is to do, unless it cannot."""
        model = self._shared.model(section)
        shapes = shape_inference.left(removed, model.shapes).linear
        how = methods.method(meaning["method"])
        own: dict[str, Any] = {}
        if model.seen is not None:
            check_matrices(section, model.seen, how)
            seen = model.seen
            own = {"architecture": seen.architecture, "norms": seen.norms} | {
                "in_order": seen.in_order,
                "outside": seen.outside,
            }
        refusal = how.refusal({**meaning, **own, "shapes": shapes})
        if refusal is not None:
            raise Refused(refusal)
        return meaning | (_loss_of(model.seen) if _asks_for_the_loss(meaning) else {})

    def _stage(
        self,
        kind: str,
        meaning: dict[str, Any],
        label: str,
        section: Frozen,
        calibration: Frozen | None,
        parent: Stage | None,
        bulk_bytes: float,
    ) -> Stage:
        how, shapes = methods.method(meaning["method"]), self._shared.model(section).shapes
        read = self._shared.reads(section, parent)
        text, path, tokens = {}, None, float(_DATA_FREE_TOKENS)
        if methods.reads_text(meaning["method"], meaning):
            assert calibration is not None
            text["calibration"], path = self._shared.text(calibration, section)
            tokens = calibration["samples"] * calibration["length"]
        if costed := methods.costed(meaning["method"]):
            zeros = parent.params.get("sparsity", 0.0) if parent is not None else 0.0
            tokens *= costed.passes({**meaning, **text, "shapes": shapes.linear, "zeros": zeros})
        if meaning.get("profile") == ALLOCATED:
            assert calibration is not None
            dense = self._shared.dense(section)
            before = parent if kind == "quantize" else dense
            own = measured(meaning)
            read["parents"]["sensitivity"] = self._shared.once(
                sensitivity, self._shared, own, section, calibration, before
            )
        return self._shared.stage(
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
            work=float(shapes.linear_parameters) * tokens,
            bulk_bytes=bulk_bytes,
        )


def check_matrices(section: Frozen, seen: look.Look, how: methods.Method) -> None:
    """Refuse a model whose matrices no method, or no quantizer, can treat.

    Raises:
        Untreatable: with the reason.
    """
    own = [kind for kind in seen.kinds if kind != PLAIN]
    if seen.refusal is not None:
        reason = f"{seen.architecture} cannot be compressed: {seen.refusal}."
    elif how.stage == "quantize" and own:
        reason = (
            f"{seen.architecture} cannot be quantized: its matrices are {', '.join(own)}, an own "
            "kind of linear layer, which the quantized formats do not hold."
        )
    elif seen.unread and (how.calibrated or how.stage == "quantize") and not _removes(how):
        short = dict.fromkeys(name.rpartition(".")[2] for name in seen.unread)
        reason = (
            f"{seen.architecture} takes the weights of {', '.join(short)} without calling the "
            "layer, so its inputs cannot be seen and codes in its place would be taken for weights."
        )
        cure = "Use prune=magnitude; its dense model can be scored."
        raise Untreatable(BadInput("model.id", section["id"], reason, cure))
    else:
        return
    raise Untreatable(BadInput("model.id", section["id"], reason, "Its dense model can be scored."))


def _removes(how: methods.Method) -> bool:
    """Whether it looks at whole decoder layers, whatever they do inside."""
    return isinstance(how, methods.ByRemoval)


def _asks_for_the_loss(meaning: Mapping[str, Any]) -> bool:
    """Whether a method searches for what costs least loss on the calibration text."""
    return meaning["method"] == "sleb" or len(meaning.get("strengths", ())) > 1


def _loss_of(seen: look.Look | None) -> dict[str, str]:
    """What tells a stage that takes the loss with scaled or capped logits from older ones.

    Those took it from what the output head gives.
    """
    return {"logits": "as the model has them"} if seen and seen.bare_logits is False else {}


def _scale_bits(quant: Quantization, section: Frozen, shapes: Shapes) -> float:
    """Bits per weight that scales and zero points take where matrices of these shapes are given."""
    options, how = Frozen(quant.options).dict, methods.quantizer(quant.method)
    own = {"bits": quant.bits, "save_dtype": section["save_dtype"], "shapes": shapes.linear}
    return how.scale_bits({**options, **own})


_GRID = ("widths", "errors", "group_size", "symmetric")
# For estimates: the pass through the model, each share or width, all ranks at once, and to the
# loss and back with a Hessian for each matrix.
_PASS, _OPTION, _RANKS, _GRADIENTS = 0.5, 0.04, 0.33, 0.73


def sensitivity(
    shared: Shared, meaning: Frozen, section: Frozen, calibration: Frozen, read: Stage | None
) -> Stage:
    """Errors by matrix of the model that ``read`` makes; all allocations of a kind share it.

    Args:
        shared: of the plan.
        meaning: what is measured, see `measured`.
        section: the model.
        calibration: the text on which errors are taken.
        read: the stage that makes the model, or None where it is read as it is.
    """
    reads = shared.reads(section, read)
    text, path = shared.text(calibration, section)
    tokens = calibration["samples"] * calibration["length"]
    own, packages = dict(meaning.dict), ["llmcompressor"]
    if "widths" in own:
        own["save_dtype"] = section["save_dtype"]
        packages.append("compressed-tensors")
    if own["errors"] == LOSS:
        own |= _loss_of(shared.model(section).seen)
    return shared.stage(
        kind="sensitivity",
        params=Params(
            **own, calibration=text, model=reads["meaning"], compute_dtype=section["compute_dtype"]
        ),
        parents=reads["parents"],
        library=library(tuple(packages)),
        sources=reads["sources"] | ({"calibration": path} if path else {}),
        label=read.label if read is not None else section["name"],
        work=float(shared.model(section).shapes.linear_parameters) * tokens * _passes(own),
    )


def measured(meaning: Mapping[str, Any]) -> Frozen:
    """What is measured for a stage that means this: widths on its grid, ranks or shares."""
    if "widths" in meaning:
        return Frozen.of({name: meaning[name] for name in _GRID})
    if meaning["pattern"] != LOW_RANK:
        return Frozen.of({name: meaning[name] for name in ("levels", "errors")})
    own = (*methods.method(meaning["method"]).options, "method", "levels", "errors")
    return Frozen.of({name: meaning[name] for name in own if name != "profile"})


def _passes(own: Mapping[str, Any]) -> float:
    whole = _PASS + (_GRADIENTS if own["errors"] == LOSS else 0.0)
    if "method" in own:
        return whole + _RANKS
    options = len(own["widths"]) if "widths" in own else own["levels"]
    return float(whole + _OPTION * options)


def refuse_groups(meaning: Mapping[str, Any], removed: Mapping[str, Any]) -> BadInput | None:
    """Groups of columns need to know how many there are; allocated ranks are not known yet."""
    size = meaning.get("group_size", -1)
    if size == -1 or removed.get("pattern") != LOW_RANK or "profile" not in removed:
        return None
    return BadInput(
        "quant.group_size",
        size,
        "with allocated ranks it is not known before they are measured whether it divides them; "
        "valid: -1 (whole rows).",
    )
