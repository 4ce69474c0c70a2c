"""Compression methods: what each must offer, and how it is found by its name.

``prune.method: sparsegpt`` is looked up in `sweeper.methods.registry`; the module named there
has one object, ``METHOD``. A method module is imported by the front end (to refuse what
the method cannot do before anything starts), so torch and llm-compressor are imported
inside its functions only.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from sweeper.errors import BadInput, one_of
from sweeper.methods.registry import PRUNERS, QUANTIZERS

Params = Mapping[str, Any]
Progress = Callable[..., None]
"""Called with a fraction in [0, 1] and a short note."""


class Method(Protocol):
    """What a method module's ``METHOD`` must offer, beside one of the forms below.

    Attributes:
        stage: "prune" or "quantize".
        label: how a cell of it is called: "{amount}" stands for the sparsity or pattern,
            "{bits}" for the bits per weight.
        options: the configuration keys (beside method, sparsity, pattern, bits, mask)
            that mean something to it; others are left out of a stage's identity.
        packages: distributions whose version is part of the stage's identity.
        calibrated: whether it looks at the calibration text; if not, that is no part of
            the stage's identity.
        masks: what it can do with the zeros of a pruned model: "keep", "ignore", "exact".
            With one of them alone, ``quant.mask`` means nothing to it.
        prunes: whether it prunes; a quantizer that does has no prune stage before it.
    """

    stage: str
    label: str
    options: tuple[str, ...]
    packages: tuple[str, ...]
    calibrated: bool
    masks: tuple[str, ...]
    prunes: bool

    def refusal(self, params: Params) -> BadInput | None:
        """Why the method cannot do this, or None. Pure, cheap, no heavy imports.

        ``params`` are those of the stage plus ``shapes``: {matrix name: [rows, columns]}
        of the linear layers, when they are known (see `conf/model`).
        """
        ...


@runtime_checkable
class ByModifiers(Method, Protocol):
    """A method that llm-compressor carries out."""

    def recipe(self, params: Params, model: Any) -> list[Any]:
        """The llm-compressor modifiers that carry it out on ``model`` (a loaded LM).

        A quantizer that prunes leaves on each matrix ``kept``, its mask [rows, columns].
        """
        ...


@runtime_checkable
class Costed(Method, Protocol):
    """A method that takes more or less time than SparseGPT on the same samples."""

    def passes(self, params: Params) -> float:
        """What the whole stage costs, SparseGPT's on the same samples being 1; cheap.

        Without calibration, loading, rounding to nearest and saving are 1. As measured on a
        model of 135M parameters; ``params`` as in `Method.refusal`, with "calibration" and
        the share of "zeros" in the model that is given to it.
        """
        ...


@runtime_checkable
class BySearch(ByModifiers, Costed, Protocol):
    """Modifiers whose settings are searched on the model before they are applied."""

    def search_share(self, params: Params) -> float:
        """The part of its cost that the search takes, in [0, 1)."""
        ...

    def search(
        self, params: Params, model: Any, samples: Any, workplace: Path, progress: Progress
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Looks for settings; the model is as it was afterwards.

        Args:
            params: of the stage.
            model: the LM, where it is to be compressed.
            samples: token ids, int64 [n, length], on the model's device.
            workplace: a directory that outlives a killed attempt: the search goes on there.
            progress: told how far the search is.

        Returns:
            What is added to ``params`` for `recipe`, and what is kept as a record of the
            stage; both empty when there is nothing to search.
        """
        ...


@runtime_checkable
class Quantizer(Method, Protocol):
    """What a method for the stage "quantize" must offer beside."""

    def scale_bits(self, params: Params) -> float:
        """Bits per weight that its scales and zero points take in a checkpoint.

        The one place that knows: plans, size tables and the disk that is asked for rest on it.
        ``params`` as in `Method.refusal`, with the shapes of what is quantized and "save_dtype".
        """
        ...


@runtime_checkable
class ByLoading(Quantizer, Protocol):
    """A quantization that transformers carries out while it loads a checkpoint."""

    def loading(self, params: Params) -> Any:
        """The ``quantization_config`` of `from_pretrained`.

        ``params`` are those of the stage and ``untreated``: names of the layers to leave alone.
        """
        ...


@runtime_checkable
class Reshaping(Method, Protocol):
    """A pruner that takes parameters out of the model instead of setting them to zero.

    Attributes:
        pattern: what it is called in the place of "unstructured": "low-rank" or "structured".
    """

    pattern: str

    def reshaped(self, params: Params) -> dict[str, tuple[int, int]]:
        """The matrices that are left: name -> (rows, columns); ``params`` as in `refusal`."""
        ...


@runtime_checkable
class ByRemoval(Reshaping, Protocol):
    """A pruner that takes whole decoder layers out, ``params["blocks"]`` of them."""

    def removed(self, params: Params, chain: Any, report: Any) -> list[int]:
        """Indexes of the decoder layers to take out, in the order in which they go.

        Args:
            params: those of the stage.
            chain: the layers and the calibration samples (`sweeper.modeling.layer_chain.Chain`).
            report: call with a fraction in [0, 1] and a short note.
        """
        ...


_REGISTERED = {"prune": PRUNERS, "quantize": QUANTIZERS}


def names(stage: str) -> list[str]:
    """The methods that exist for a stage ("prune", "quantize"), in the order of the registry."""
    return list(_REGISTERED[stage])


@cache
def method(name: str) -> Method:
    """The object ``METHOD`` of a registered method."""
    module = next(known[name] for known in _REGISTERED.values() if name in known)
    loaded: Method = importlib.import_module(module).METHOD
    return loaded


def reads_text(name: str, options: Params) -> bool:
    """Whether the calibration text is part of what a method does: always, or to refine it."""
    return method(name).calibrated or bool(options.get("refine"))


def find(stage: str, name: str, key: str) -> Method:
    """The method called ``name`` for ``stage``, or a refusal that names the valid ones."""
    valid = names(stage)
    if name not in valid:
        raise BadInput(key, name, one_of(["none", *valid]))
    return method(name)


# To ask a protocol of each of 10,000 cells costs seconds, so the answers are kept.


@cache
def reshaping(name: str) -> Reshaping | None:
    """The method called ``name`` if it removes parameters."""
    found = method(name)
    return found if isinstance(found, Reshaping) else None


@cache
def removal(name: str) -> ByRemoval | None:
    """The method called ``name`` if it removes decoder layers."""
    found = method(name)
    return found if isinstance(found, ByRemoval) else None


@cache
def quantizer(name: str) -> Quantizer:
    """The registered quantizer called ``name``."""
    found = method(name)
    assert isinstance(found, Quantizer)
    return found


@cache
def by_loading(name: str) -> ByLoading | None:
    """The method called ``name`` if it quantizes while a model is loaded."""
    found = method(name)
    return found if isinstance(found, ByLoading) else None


@cache
def costed(name: str) -> Costed | None:
    """The method called ``name`` if it says what it costs."""
    found = method(name)
    return found if isinstance(found, Costed) else None
