"""The stages that change the basis of a model before anything is compressed: rescale, rotate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.config.section import Frozen
from sweeper.errors import BadInput, Refused, several
from sweeper.inputs import resolve
from sweeper.methods.invariance import hadamard
from sweeper.modeling import directory
from sweeper.planning.cells.basis import RESCALE, ROTATE
from sweeper.planning.plan import Params, Stage
from sweeper.store.hashing import library

if TYPE_CHECKING:
    from sweeper.planning.stages.context import Shared

_LIBRARY = {RESCALE: ("transformers",), ROTATE: ("transformers", "compressed-tensors")}
_LABEL = {RESCALE: "rescaled", ROTATE: "rotated"}
_MATRICES = (
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
)


def stage(
    shared: Shared, kind: str, own: Mapping[str, Any], section: Frozen, before: Stage | None
) -> Stage:
    """The stage that changes the model that ``before`` makes, or as it is read.

    Args:
        shared: of the plan.
        kind: "rescale" or "rotate".
        own: its options.
        section: the model.
        before: the stage that makes the model; None where it is read as it is.

    Raises:
        Refused: the model is not built so, its norms cannot be folded, or no rotation fits it.
    """
    model = shared.model(section)
    if refusal := _unfit(kind, own, section["name"], model):
        raise Refused(refusal)
    if kind == ROTATE and (refusal := _outputs(section, model) or _width(own, model)):
        raise Refused(refusal)
    reads = shared.reads(section, before)
    head = _head(section) if kind == ROTATE else 0
    return shared.stage(
        kind=kind,
        params=Params(**own, model=reads["meaning"], save_dtype=section["save_dtype"]),
        parents=reads["parents"],
        library=library(_LIBRARY[kind]),
        sources=reads["sources"],
        label=f"{section['name']} ({_LABEL[kind]})",
        work=float(model.shapes.parameters),
        bulk_bytes=model.shapes.bytes(16) + 2 * head,
    )


def _unfit(kind: str, own: Mapping[str, Any], name: str, model: resolve.Model) -> BadInput | None:
    """Refuses what is not built like Llama, by the names of its matrices."""
    odd = [each for each in model.shapes.linear if not each.endswith(_MATRICES)]
    layers = max(1, model.shapes.layers)
    if not odd and len(model.shapes.linear) == len(_MATRICES) * layers:
        return None
    what = f"it has {several(odd, 3)}" if odd else "some of its layers lack matrices"
    return BadInput(
        f"{kind}.method",
        own["method"],
        f"{name} is not built like Llama ({what}), so which channels belong together is not known.",
        f"Set {kind}=none for this model.",
    )


def _outputs(section: Frozen, model: resolve.Model) -> BadInput | None:
    """Refuses norms on what is added to the residual stream: their gains fold into nothing."""
    found = _norms_behind(model)
    arch = section["architecture"]
    if not found and model.seen is None and arch and arch["layer_norms"] > 2:
        found = [f"{arch['layer_norms'] - 2} of the {arch['layer_norms']} norms of each layer"]
    if not found:
        return None
    return BadInput(
        "rotate.method",
        "hadamard",
        f"{section['name']} has norms on what is added to its residual stream ({several(found, 2)})"
        ", whose gains cannot be folded into any matrix.",
        "Set rotate=none for this model.",
    )


def _norms_behind(model: resolve.Model) -> list[str]:
    """Norms of the residual stream's width in the layers that no matrix reads, where it is here."""
    if model.seen is None or model.seen.norms is None:
        return []
    width = _columns(model)
    read = set(model.seen.norms)
    names = [
        name.removesuffix(".weight")
        for name, info in directory.tensors(Path(model.source))
        if list(info["shape"]) == [width] and ".layers." in name and name.endswith("norm.weight")
    ]
    return sorted(name for name in names if not any(_same(name, one) for one in read))


def _same(stored: str, module: str) -> bool:
    """Whether a tensor's module is the one of that path; files may lack or have another prefix."""
    return stored == module or stored.partition("layers.")[2] == module.partition("layers.")[2]


def _width(own: Mapping[str, Any], model: resolve.Model) -> BadInput | None:
    width = _columns(model)
    size = own["block_size"] or width
    if width % size == 0 and hadamard.fits(size):
        return None
    sizes = ", ".join(map(str, hadamard.blocks(width))) or "none"
    return BadInput(
        "rotate.block_size",
        size,
        f"there are no Hadamard blocks of that size for a width of {width}; valid: {sizes}"
        f"{' and null (the whole width)' if hadamard.fits(width) else ''}.",
        "Set rotate.block_size to one of these, as large as can be.",
    )


def _columns(model: resolve.Model) -> int:
    return next(columns for name, (_, columns) in model.shapes.linear.items() if "q_proj" in name)


def _head(section: Frozen) -> int:
    """Weights of an output head that is no longer one matrix with the embedding."""
    arch = section["architecture"]
    if not arch or not arch["tie_word_embeddings"]:
        return 0
    return int(arch["vocab_size"] * arch["hidden_size"])
