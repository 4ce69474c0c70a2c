"""Which matrices of a model are pruned and quantized: one list, made from the model itself.

Planning, the walk over the layers, the quantizers' schemes and `measure` all ask `listed`: of
the model that is loaded, or of the same model built on the meta device, where weights take no
memory. A matrix is treated if it is a linear layer inside of the stack of decoder layers. The
rest (embeddings, output head, projections beside the stack, vision towers, routers, norms)
stays dense and is counted so.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key
from transformers.pytorch_utils import Conv1D

from sweeper.modeling import low_rank_format

EXPERTS = (
    "its experts are held as one tensor of three dimensions, which neither pruning nor "
    "quantization here takes apart"
)
TRANSPOSED = "its matrices are Conv1D, stored transposed, which no method here treats"
NO_STACK = "its decoder layers are not in one list"
NO_LINEAR = "its decoder layers have no linear layers"


@dataclass(frozen=True, kw_only=True)
class Matrices:
    """The matrices of a model.

    Attributes:
        treated: module path -> the linear layer, in the order of the model.
        untreatable: path of what holds other matrices of the decoder layers, in a form that no
            method takes: transposed, or many experts in one tensor.
        refusal: why no method can treat this model; None if methods can.
    """

    treated: Mapping[str, nn.Module]
    untreatable: Mapping[str, str]
    refusal: str | None

    @property
    def kinds(self) -> set[str]:
        """Names of the classes of the treated matrices: "Linear", or a subclass of it."""
        return {type(module).__name__ for module in self.treated.values()}


def listed(model: Any) -> Matrices:
    """The matrices of a causal LM, whatever its weights are at the moment."""
    stack = layers(model)
    names = {id(module): name for name, module in model.named_modules()}
    inside = {names[id(m)]: m for layer in stack for m in layer.modules()}
    treated = {name: m for name, m in inside.items() if isinstance(m, nn.Linear)}
    untreatable = dict(_untreatable(inside))
    refusal = next(iter(untreatable.values()), None) or (None if treated else NO_LINEAR)
    return Matrices(
        treated=treated, untreatable=untreatable, refusal=refusal if stack else NO_STACK
    )


def layers(model: Any) -> list[nn.Module]:
    """The decoder layers in order; empty where they are not in one list."""
    return list(stack(model)[1])


def stack(model: Any) -> tuple[str, nn.ModuleList]:
    """(module path, the list of decoder layers); ("", an empty list) where there is none."""
    decoder, count = decoder_of(model), model.config.get_text_config().num_hidden_layers
    inside = {id(m) for m in decoder.modules()}
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count and id(module) in inside:
            return name, module
    return "", nn.ModuleList()


def decoder_of(model: Any) -> Any:
    """The part of a causal LM that ends before its output head."""
    found = model.get_decoder()
    # some architectures do not say: the whole model is then what `get_decoder` gives
    return getattr(model, model.base_model_prefix, found) if found is model else found


def outside(model: Any) -> list[str]:
    """Names of the linear layers beside the stack of decoder layers, the output head left out."""
    head = model.get_output_embeddings()
    return [name for name in beside(model) if model.get_submodule(name) is not head]


def beside(model: Any) -> list[str]:
    """Names of the linear layers that no method may touch."""
    treated = listed(model).treated
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name not in treated
    ]


def untreated(model: Any) -> list[str]:
    """The same as patterns for llm-compressor's ``ignore``.

    Its pruners append a dot to names, its quantizers do not.
    """
    return [rf"re:{re.escape(name)}\.?$" for name in beside(model)]


def _untreatable(modules: Mapping[str, nn.Module]) -> Iterator[tuple[str, str]]:
    """(path, why not) of the matrices that no method takes."""
    for name, module in modules.items():
        if isinstance(module, Conv1D):
            yield name, TRANSPOSED
        elif not isinstance(module, _Convolution):
            for own, parameter in module.named_parameters(recurse=False):
                if parameter.ndim == 3 and 1 not in parameter.shape:
                    yield f"{name}.{own}".removesuffix(".weight"), EXPERTS


_Convolution = nn.modules.conv._ConvNd


def on_meta(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """The causal LM of a checkpoint directory without its weights, on the meta device.

    Raises:
        Exception: whatever transformers says of a configuration that it cannot build.
    """
    config = low_rank_format.config_of(folder, trust_remote_code=trust_remote_code)
    for each in (config, config.get_text_config()):
        if hasattr(each, "quantization_config"):
            del each.quantization_config  # the plain layers have the same names
    with torch.device("meta"), warnings.catch_warnings(), _default_dtype():
        warnings.simplefilter("ignore")
        if low_rank_format.is_factored(folder):
            return low_rank_format.class_of(config)(config)
        return AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)


@contextmanager
def _default_dtype() -> Iterator[None]:
    before = torch.get_default_dtype()
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def held(model: Any, stored: Mapping[str, tuple[str, int]]) -> dict[str, list[str]]:
    """How the weights of a model and those in the files differ, by name.

    Args:
        model: a causal LM, on the meta device too.
        stored: tensor in the files -> (name of the parameter that it becomes, or a part of which
            it becomes; number of its weights).

    Returns:
        "missing" parameters, "misshapen" ones of another size, and "left_over" tensors, which
        are no part of the model.
    """
    sizes: dict[str, int] = {}
    for name, count in stored.values():
        sizes[name] = sizes.get(name, 0) + count
    names: dict[int, list[str]] = {}  # tied parameters have several
    counts: dict[int, int] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
        counts[id(parameter)] = parameter.numel()
    known = {*model.state_dict(), *(name for each in names.values() for name in each)}
    there = {which: [n for n in each if n in sizes] for which, each in names.items()}
    expected = [re.compile(p) for p in model._keys_to_ignore_on_load_unexpected or ()]
    return {
        "missing": [each[0] for which, each in names.items() if not there[which]],
        "misshapen": [
            name for which, each in there.items() for name in each if sizes[name] != counts[which]
        ],
        "left_over": [
            tensor
            for tensor, (name, _) in stored.items()
            if name not in known and not any(p.search(name) or p.search(tensor) for p in expected)
        ],
    }


def module_names(model: Any, tensors: Iterable[str]) -> dict[str, str]:
    """Name of a weight in the files -> name of the same parameter in the model.

    As transformers renames it while loading: files may be older than the names of today, and
    may lack the prefix of the model's head.
    """
    conversions = get_model_conversion_mapping(model)
    renamings = [c for c in conversions if isinstance(c, WeightRenaming)]
    converters = [c for c in conversions if isinstance(c, WeightConverter)]
    known, prefix = model.state_dict(), model.base_model_prefix
    return {
        name: rename_source_key(name, renamings, converters, prefix, known)[0] for name in tensors
    }
