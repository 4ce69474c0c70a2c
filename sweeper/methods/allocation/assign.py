"""The sparsity of each matrix, by the profile of the stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeper.methods import Params
from sweeper.methods.profiles import UNIFORM


def sparsities(params: Params, model: Any, matrices: Mapping[str, Any], batches: Any) -> Params:
    """Name of a matrix -> share of its weights to prune.

    Args:
        params: of the stage.
        model: the dense model.
        matrices: its linear layers to prune, by name.
        batches: calibration samples, each [samples, length]; None without calibration.
    """
    if params.get("profile", UNIFORM) == UNIFORM:
        return dict.fromkeys(matrices, float(params["sparsity"]))
    from sweeper.methods.allocation import owl

    return owl.sparsities(params, model, matrices, batches)
