"""``prune.method: jsq`` - sparsity that knows of the quantization after it, by search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sweeper.errors import BadInput, one_of
from sweeper.methods import Params, Progress, validation

CLAMPS = ("range", "quantile")
# What pruning costs without a search, SparseGPT's being 1; without ranges it is Wanda ...
_PRUNING, _WITHOUT_RANGES = 2.0, 0.65
# ... and a step of the search beside that, on the same samples.
_STEP = 0.85


class JSQ:
    """The pruning of JSQ (Guo et al., ICML 2024), unstructured (per row) or any N:M.

    With several editing strengths, the best one for each decoder layer is searched; with
    a single one there is no search. A quantize stage follows: smoothquant or gptq.
    """

    stage = "prune"
    label = "jsq {amount}"
    options = (
        *("range_weight", "strengths", "clamp", "search_steps", "search_samples"),
        *("search_bits", "search_hot", "search_cold", "search_seed"),
    )
    packages = ("llmcompressor",)
    calibrated = True
    masks = ()
    prunes = True

    def refusal(self, params: Params) -> BadInput | None:
        """See `sweeper.methods.Method`."""
        return (
            validation.refuse_pattern(params) or _refuse_saliency(params) or _refuse_search(params)
        )

    def recipe(self, params: Params, model: Any) -> list[Any]:
        """See `sweeper.methods.ByModifiers`; ``editing`` is what `search` found, if it ran."""
        from sweeper.modeling import matrices

        layers = matrices.layers(model)
        vector = params.get("editing") or [params["strengths"][0]] * len(layers)
        return [_pruner(params, model, strengths=_by_matrix(model, vector))]

    def search(
        self, params: Params, model: Any, samples: Any, workplace: Path, progress: Progress
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """See `sweeper.methods.BySearch`."""
        if len(params["strengths"]) == 1:
            return {}, {}
        from sweeper.methods.jsq.annealing import Remembered, Schedule, anneal, as_rows
        from sweeper.methods.jsq.search import CompressedLoss
        from sweeper.modeling import layer_chain

        strengths = params["strengths"]
        how = Schedule(
            steps=params["search_steps"],
            hot=params["search_hot"],
            cold=params["search_cold"],
            seed=params["search_seed"],
        )
        with layer_chain.opened(model, samples[: params["search_samples"]]) as layers:
            loss = CompressedLoss(
                layers,
                _pruner(params, model),
                strengths=strengths,
                clamp=params["clamp"],
                bits=params["search_bits"],
            )
            remembered = Remembered(loss, workplace / "energies.jsonl")
            watched = _Watched(remembered, how.steps + 1, progress)
            best, trace = anneal(
                watched, positions=len(layers.layers), choices=len(strengths), schedule=how
            )
        editing = [strengths[choice] for choice in best]
        return {"editing": editing}, {"editing": editing, "trace": as_rows(trace)}

    def passes(self, params: Params) -> float:
        """See `sweeper.methods.Costed`."""
        pruning = _PRUNING if params["range_weight"] else _WITHOUT_RANGES
        return pruning * (1 + _searching(params))

    def search_share(self, params: Params) -> float:
        """See `sweeper.methods.BySearch`."""
        searching = _searching(params)
        return searching / (1 + searching)


def _searching(params: Params) -> float:
    """What the search costs, pruning without it being 1."""
    if len(params["strengths"]) == 1:
        return 0.0
    every = params["calibration"]["samples"]
    share = min(params["search_samples"] or every, every) / every
    return float(_STEP * share * (params["search_steps"] + 1))


class _Watched:
    """A landscape that reports how far the search is."""

    def __init__(self, landscape: Any, energies: int, progress: Progress) -> None:
        self._landscape, self._energies, self._progress = landscape, energies, progress
        self._done = 0

    def energy(self, vector: tuple[int, ...]) -> float:
        found: float = self._landscape.energy(vector)
        self._done += 1
        self._progress(self._done / self._energies, f"step {self._done}/{self._energies}")
        return found

    def accepted(self, vector: tuple[int, ...]) -> None:
        self._landscape.accepted(vector)


def _pruner(params: Params, model: Any, **more: Any) -> Any:
    from sweeper.methods.jsq.saliency import ActivationRange
    from sweeper.modeling import matrices

    n, m = validation.nm(params["pattern"]) or (0, 0)
    return ActivationRange(
        sparsity=params["sparsity"],
        mask_structure=f"{n}:{m}",
        save_dtype=params["save_dtype"],
        range_weight=params["range_weight"],
        clamp=params["clamp"],
        ignore=matrices.untreated(model),
        **more,
    )


def _by_matrix(model: Any, vector: list[float]) -> dict[str, float]:
    """Editing strength of every matrix, from those of the decoder layers."""
    from sweeper.modeling import matrices

    names = {module: name for name, module in model.named_modules()}
    return {
        names[module]: strength
        for layer, strength in zip(matrices.layers(model), vector, strict=True)
        for module in layer.modules()
    }


def _refuse_saliency(params: Params) -> BadInput | None:
    weight, strengths = params["range_weight"], params["strengths"]
    if not weight >= 0:
        return BadInput("prune.range_weight", weight, "valid: 0 (Wanda) or more.", "2 is usual.")
    if not strengths or len(set(strengths)) < len(strengths) or not _are_strengths(strengths):
        return BadInput(
            "prune.strengths",
            strengths,
            "valid: one or more different numbers, each at least 0 and below 0.5.",
            "[0] edits nothing.",
        )
    if params["clamp"] not in CLAMPS:
        return BadInput("prune.clamp", params["clamp"], f"{one_of(CLAMPS)}.")
    return None


def _are_strengths(values: list[float]) -> bool:
    return all(0 <= value < 0.5 for value in values)


def _refuse_search(params: Params) -> BadInput | None:
    if len(params["strengths"]) == 1:
        return None
    for name in ("search_steps", "search_samples"):
        if params[name] is not None and params[name] < 1:
            return BadInput(
                f"prune.{name}", params[name], "valid: 1 or more.", "One strength needs no search."
            )
    if not 2 <= params["search_bits"] <= 16:
        return BadInput("prune.search_bits", params["search_bits"], "valid: 2 to 16.")
    if not params["search_hot"] >= params["search_cold"] > 0:
        return BadInput(
            "prune.search_cold", params["search_cold"], "valid: above 0, at most prune.search_hot."
        )
    return None


METHOD = JSQ()
