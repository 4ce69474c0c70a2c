"""A checkpoint that someone compressed elsewhere: its format, and whether it is what a cell says.

Read from its configuration and the headers of its files; nothing is loaded. How many weights
are zero is counted by the `measure` stage, as of any other checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.config.section import Frozen
from sweeper.errors import BadInput
from sweeper.inputs import resolve
from sweeper.inputs.pins import Pins
from sweeper.methods.profiles import UNIFORM
from sweeper.modeling import shapes
from sweeper.planning.cells.cell import Cell
from sweeper.store import hashing

Json = Mapping[str, Any]
KEY, PRUNED = "model.compressed", "model.pruned"
MASK = "mask.safetensors"
PACKED = ("pack-quantized", "int-quantized")
_BITSANDBYTES = {"load_in_4bit": ("nf4", 4), "load_in_8bit": ("llm_int8", 8)}
_PRECISIONS = ("BF16", "F16", "F32")
_DIMENSIONS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
)


@dataclass(frozen=True, kw_only=True)
class Format:
    """What the configuration of a checkpoint says of its weights.

    Attributes:
        name: plain, pack-quantized, int-quantized or bitsandbytes.
        stated: keys of the `quant` section -> their values, those that it states.
    """

    name: str
    stated: Mapping[str, Any]

    @property
    def bits(self) -> int:
        """Bits of a weight."""
        return int(self.stated["bits"])


def given(section: Frozen) -> str | None:
    """The directory that stands for the compressed model of a cell, if there is one.

    Raises:
        BadInput: what it was quantized from is named, and it is not.
    """
    found: str | None = section.dict.get("compressed")
    if found is None and (where := section.dict.get("pruned")):
        raise BadInput(
            PRUNED,
            where,
            f"it says what {KEY} was quantized from, which is not set.",
            f"Set {KEY} too, or leave both out.",
        )
    return found


@dataclass(frozen=True, kw_only=True)
class Before:
    """What says which weights were pruned: a pruned checkpoint, or the directory of a mask."""

    path: Path
    sha256: str


def before(section: Frozen) -> Before | None:
    """What the compressed model was quantized from, if it is known.

    Raises:
        BadInput: it is neither a checkpoint nor a mask.
    """
    where: str | None = section.dict.get("pruned")
    if where is None:
        return None
    path = Path(where).expanduser().absolute()
    for folder in (path, path / "mask"):
        if (folder / MASK).is_file():
            return Before(path=folder, sha256=hashing.file_digest(folder / MASK))
    found = resolve.directory(section, path, key=PRUNED)
    return Before(path=path, sha256=found.meaning["sha256"])


def resolved(cell: Cell, pins: Pins) -> resolve.Model:
    """The checkpoint of a cell that was compressed elsewhere.

    Raises:
        BadInput: it is none, cannot be read, is not whole, or contradicts the cell or its model.
    """
    where = given(cell.model)
    assert where is not None
    if cell.pruning is None and cell.quantization is None:
        raise BadInput(
            KEY,
            where,
            "prune and quant must say what it is: this cell is dense.",
            "A dense model is named by model.id.",
        )
    if cell.pruning is not None and cell.pruning.removes:
        raise BadInput(
            KEY,
            where,
            f"{cell.pruning.method} removes parameters; taken over are "
            "checkpoints with zeros or codes.",
        )
    if cell.pruning is None and before(cell.model):
        raise BadInput(PRUNED, cell.model["pruned"], f"{cell.label} has no pruned weights.")
    found = resolve.directory(cell.model, Path(where).expanduser().absolute(), key=KEY)
    wrong = [*differences(read(Path(found.source)), cell), *_dimensions(found, cell, pins)]
    if wrong:
        raise BadInput(
            KEY,
            where,
            f"it is not {cell.label}: {'; '.join(wrong)}.",
            "Name the cell that it is, or set these keys to what it is.",
        )
    return found


def read(path: Path) -> Format:
    """The format of a checkpoint directory.

    Raises:
        BadInput: one that is not read.
    """
    config = _config(path)
    quantized = config.get("quantization_config") or config.get("compression_config")
    if not quantized:
        return Format(name="plain", stated={"bits": 16})
    method = quantized.get("quant_method")
    if method == "compressed-tensors":
        return _compressed_tensors(path, quantized)
    if method == "bitsandbytes":
        return _bitsandbytes(path, quantized)
    raise _unread(path, f"quant_method {method!r}")


def _compressed_tensors(path: Path, quantized: Json) -> Format:
    form, groups = quantized.get("format"), list((quantized.get("config_groups") or {}).values())
    sparse = (quantized.get("sparsity_config") or {}).get("format") or "dense"
    if form not in PACKED or sparse != "dense" or len(groups) != 1:
        raise _unread(
            path,
            f"compressed-tensors as {form!r}, zeros as {sparse!r}, with "
            f"{len(groups)} groups of layers",
        )
    weights = groups[0]["weights"]
    activations = groups[0].get("input_activations") or {}
    return Format(
        name=form,
        stated={
            "bits": weights["num_bits"],
            "profile": UNIFORM,  # one group of layers has one width
            "group_size": weights.get("group_size") or -1,
            "symmetric": weights["symmetric"],
            "activation_bits": activations.get("num_bits", 16),
        },
    )


def _bitsandbytes(path: Path, quantized: Json) -> Format:
    found = [named for key, named in _BITSANDBYTES.items() if quantized.get(key)]
    four = quantized.get("load_in_4bit")
    if len(found) != 1 or (four and quantized.get("bnb_4bit_quant_type") != "nf4"):
        raise _unread(path, f"bitsandbytes as {quantized.get('bnb_4bit_quant_type')!r}")
    ((method, bits),) = found
    stated = {"method": method, "bits": bits}
    if four:
        stated["double_quant"] = bool(quantized.get("bnb_4bit_use_double_quant"))
    return Format(name="bitsandbytes", stated=stated)


def _unread(path: Path, what: str) -> BadInput:
    return BadInput(
        KEY,
        str(path),
        f"its format is not read: {what}; valid: plain weights, "
        f"compressed-tensors ({', '.join(PACKED)}, one group of layers), bitsandbytes (NF4, int8).",
        "Convert it, or import its scores.",
    )


def differences(found: Format, cell: Cell) -> list[str]:
    """The keys in which the files contradict a cell, with both values."""
    quant = cell.quantization
    wanted: dict[str, Any] = {"bits": cell.bits}
    if quant is not None:
        wanted |= {"method": quant.method, **Frozen(quant.options).dict}
    wrong = [
        f"quant.{key} is {value!r}, here {wanted[key]!r}"
        for key, value in found.stated.items()
        if key in wanted and wanted[key] != value
    ]
    by_loading = [method for method, _ in _BITSANDBYTES.values()]
    if "method" not in found.stated and quant is not None and quant.method in by_loading:
        wrong.append(f"quant.method is none of bitsandbytes, here {quant.method!r}")
    return wrong


def _dimensions(found: resolve.Model, cell: Cell, pins: Pins) -> Iterator[str]:
    """Where it is a compression of another model than the cell's; weights of another precision."""
    base, own = _base(cell.model, pins), _config(Path(found.source))
    for name in _DIMENSIONS:
        if None not in (base.get(name), own.get(name)) and base[name] != own[name]:
            yield f"{name} is {own[name]}, {cell.model['name']} has {base[name]}"
    if cell.quantization is None and found.seen is not None:
        stored = shapes.precisions(Path(found.source), found.seen.matrices) - set(_PRECISIONS)
        if stored:
            yield f"its matrices are stored as {', '.join(sorted(stored))}, here as numbers"


def _base(section: Frozen, pins: Pins) -> Json:
    """Dimensions of the model that was compressed, where they are known on this machine."""
    local = Path(section["id"]).expanduser()
    if local.is_dir():
        return _config(local)
    if section["format"] == "hf":
        pinned = pins.model(section["id"], section["revision"])
        if cached := resolve.cached_snapshot(section["id"], pinned or section["revision"]):
            return _config(cached)
    return section["architecture"] or {}


def _config(path: Path) -> Json:
    found: Json = json.loads((path / "config.json").read_text(encoding="utf-8"))
    return found
