"""What the front end knows of pruners that go by a score per weight and update nothing."""

from __future__ import annotations

from typing import Any

from sweeper.errors import BadInput
from sweeper.methods import Params, _check
from sweeper.methods._profiles import refuse_profile

IGNORED = ["re:.*lm_head"]


class ScoredPruning:
    """A method of `sweeper.methods`; a subclass says its ``label`` and its ``modifier``.

    Attributes:
        modifier: a class of `sweeper.methods._saliency`.
    """

    stage = "prune"
    label: str
    modifier: str
    options: tuple[str, ...] = ("order", "profile")
    packages: tuple[str, ...] = ("llmcompressor",)
    calibrated: bool
    masks: tuple[str, ...] = ()
    prunes = True

    def refusal(self, params: Params) -> BadInput | None:
        """See `sweeper.methods.Method`."""
        return _check.refuse_pattern(params) or refuse_profile(params, calibrated=self.calibrated)

    def recipe(self, params: Params, model: Any) -> list[Any]:
        """See `sweeper.methods.ByModifiers`."""
        from sweeper.methods import _saliency

        n, m = _check.nm(params["pattern"]) or (0, 0)
        return [
            getattr(_saliency, self.modifier)(
                sparsity=params["sparsity"],
                sparsities=params["sparsities"],
                mask_structure=f"{n}:{m}",
                save_dtype=params["save_dtype"],
                ignore=IGNORED,
            )
        ]
