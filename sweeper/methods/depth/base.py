"""Depth pruning as the front end sees it: whole decoder layers go, a subclass says which."""

from __future__ import annotations

from sweeper.errors import BadInput
from sweeper.methods import Params
from sweeper.modeling.shapes import Shape, Shapes, layer_of


class DepthPruning:
    """What methods that take out ``params["blocks"]`` decoder layers have in common."""

    stage = "prune"
    options = ()
    packages = ("transformers",)
    calibrated = True
    masks = ()
    prunes = True
    pattern = "structured"

    def refusal(self, params: Params) -> BadInput | None:
        """A model that does not call its layers one after the other, as far as that is known."""
        if params.get("in_order") is not False:
            return None
        return BadInput(
            "prune.method",
            params["method"],
            f"the decoder layers of {params['architecture']} are not called one after the other.",
            "Use prune=sparsegpt, wanda or magnitude.",
        )

    def reshaped(self, params: Params) -> dict[str, Shape]:
        """See `sweeper.methods.Reshaping`: layers are of one shape, so the last ones go."""
        kept = Shapes(params["shapes"], 0).layers - params["blocks"]
        layers = {name: layer_of(name) for name in params["shapes"]}
        return {n: s for n, s in params["shapes"].items() if (layers[n] or 0) < kept}
