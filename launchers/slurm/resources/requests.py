"""Which resources each stage gets: the base, then what differs by kind and by size of model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from launchers.slurm.resources import validation
from launchers.slurm.resources.resources import Resources, gres_gpus, gres_type, gres_without_gpus
from sweeper.errors import BadInput, one_of
from sweeper.stages import KINDS
from sweeper.store.store import Spec

ROUND = "round"
"""The kind under which the repair-and-collect job finds its resources."""

_REPLACES = {
    "mem_gb": ("mem_per_cpu", "mem_per_gpu"),
    "mem_per_cpu": ("mem_per_gpu",),
    "cpus_per_task": ("cpus_per_gpu",),
}
"""What a kind or a size asks for in one way is not asked for in another way as well."""
_NEVER_NONE = [f.name for f in fields(Resources) if f.default is not None]
"""Given as null, these stay what they were."""
_WORDS = [f.name for f in fields(Resources) if f.type == "str | None"]
"""What may look like a number on the command line: hydra.launcher.account=2024."""


class Requests:
    """Which resources each stage gets: the base, then its kind's, then its model size's."""

    def __init__(
        self,
        base: Mapping[str, Any],
        kinds: Mapping[str, Mapping[str, Any]],
        sizes: Sequence[Mapping[str, Any]],
    ) -> None:
        """Check all names and values.

        Args:
            base: fields of `Resources`.
            kinds: kind of stage (or "round") -> fields that differ.
            sizes: each with ``above_billion`` (parameters) and fields that differ for larger
                models, optionally only for the ``kinds`` that it lists; later ones win.

        Raises:
            BadInput: naming the key.
        """
        self._base = _resources("hydra.launcher", base, Resources())
        for kind in kinds:
            if kind not in (*KINDS, ROUND):
                valid = one_of([*KINDS, ROUND]) + "."
                raise BadInput("hydra.launcher.kinds", kind, valid)
        self._kinds = {
            kind: _resources(f"hydra.launcher.kinds.{kind}", given, self._base)
            for kind, given in kinds.items()
        }
        self._sizes = [_size(dict(given), self._base) for given in sizes]

    def of_kind(self, kind: str) -> Resources:
        """The request of a kind of stage, whatever its model."""
        return self._kinds.get(kind, self._base)

    def of(self, spec: Spec, parameters: float = 0.0) -> Resources:
        """The request of a stage whose model has this many parameters (0: unknown)."""
        found = self.of_kind(spec["kind"])
        for above, kinds, given in self._sizes:
            if parameters > above and spec["kind"] in kinds:
                found = _over(found, given)
        return found


def model_parameters(specs: Mapping[str, Spec]) -> dict[str, float]:
    """Stage key -> parameters of its model, as far as a stage of that model tells.

    ``measure`` and ``convert`` stages carry the number of parameters as their work.
    """
    roots = {key: _root(spec) for key, spec in specs.items()}
    sizes: dict[str, float] = {}
    for key, spec in specs.items():
        if spec["kind"] in ("measure", "convert"):
            sizes[roots[key]] = max(sizes.get(roots[key], 0.0), float(spec.get("work") or 0.0))
    return {key: sizes.get(root, 0.0) for key, root in roots.items()}


def _root(spec: Spec) -> str:
    """The model that a stage's checkpoint was made from."""
    while parents := spec.get("parents"):
        spec = parents.get("model") or next(iter(parents.values()))
    sources: Mapping[str, str] = spec.get("sources", {})
    return str(sources.get("model") or sources.get("gguf") or "")


def _size(given: dict[str, Any], base: Resources) -> tuple[float, frozenset[str], dict[str, Any]]:
    key = "hydra.launcher.sizes"
    above = given.pop("above_billion", None)
    if not isinstance(above, int | float):
        raise BadInput(f"{key}.above_billion", above, "valid: a number of parameters, in 10^9.")
    kinds = given.pop("kinds", None) or KINDS
    if unknown := set(kinds) - set(KINDS):
        raise BadInput(f"{key}.kinds", ", ".join(sorted(unknown)), one_of(KINDS) + ".")
    _resources(key, given, base)
    return above * 1e9, frozenset(kinds), given


def _resources(key: str, given: Mapping[str, Any], base: Resources) -> Resources:
    validation.check(key, given)
    made = _over(base, given)
    if made.gpu_type and gres_gpus(made.gres or ""):
        raise BadInput(
            f"{key}.gpu_type",
            made.gpu_type,
            f"gres={made.gres} says which GPUs: name the type there (gpu:{made.gpu_type}:1).",
        )
    return made


def _over(base: Resources, given: Mapping[str, Any]) -> Resources:
    """A request with what is given in place of what it has, whatever asked for the same before."""
    values = {name: _frozen(value) for name, value in given.items()}
    values |= {name: str(values[name]) for name in _WORDS if values.get(name) is not None}
    for name in _NEVER_NONE:
        if values.get(name, ...) is None:
            del values[name]
    if (gpus := values.pop("gpus_per_task", None)) is not None:
        values["gpus_per_node"] = gpus
    for name, others in _REPLACES.items():
        if values.get(name) is not None:
            values = dict.fromkeys(others) | values
    if "gres" in values and gres_gpus(values["gres"] or ""):
        values = {"gpu_type": None} | values
    elif "gpus_per_node" in values and "gres" not in values and gres_gpus(base.gres or ""):
        kind, rest = gres_type(base.gres or ""), gres_without_gpus(base.gres or "")
        values = {"gpu_type": kind} | values | {"gres": rest or None}
    made = replace(base, **values)
    # a kind without GPUs below a base that pins a type
    return made if made.gpus else replace(made, gpu_type=None)


def _frozen(value: Any) -> Any:
    """Lists and maps as tuples: requests are compared and grouped by value."""
    if isinstance(value, Mapping):
        return tuple(sorted(value.items()))
    return tuple(value) if isinstance(value, list) else value
