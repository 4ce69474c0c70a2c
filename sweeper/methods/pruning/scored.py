"""What the front end knows of pruners that go by a score per weight and update nothing."""

from __future__ import annotations

from typing import Any

from sweeper.errors import BadInput
from sweeper.methods import Params, validation
from sweeper.methods.profiles import refuse_profile
from sweeper.methods.refinement import options as refinement


class ScoredPruning:
    """A method of `sweeper.methods`; a subclass says its ``label`` and what it scores by.

    Attributes:
        modifier: a class of `sweeper.methods.pruning.score_modifier`, unless `scoring` gives
            another one.
    """

    stage = "prune"
    label: str
    modifier: str = ""
    options: tuple[str, ...] = ("order", "profile", refinement.REFINE)
    packages: tuple[str, ...] = ("llmcompressor",)
    calibrated: bool
    masks: tuple[str, ...] = ()
    prunes = True

    def refusal(self, params: Params) -> BadInput | None:
        """See `sweeper.methods.Method`."""
        return (
            validation.refuse_pattern(params)
            or refuse_profile(params, calibrated=self.calibrated)
            or validation.refuse_dampening("prune", params)
        )

    def passes(self, params: Params) -> float:
        """See `sweeper.methods.Costed`; without calibration and refinement it rounds nothing."""
        return refinement.refit_passes(params, 1.0, hessians=True)

    def scoring(self) -> Any:
        """The subclass of `score_modifier.ScorePruning` that knows the score."""
        from sweeper.methods.pruning import score_modifier

        return getattr(score_modifier, self.modifier)

    def recipe(self, params: Params, model: Any) -> list[Any]:
        """See `sweeper.methods.ByModifiers`."""
        from sweeper.modeling import matrices

        n, m = validation.nm(params["pattern"]) or (0, 0)
        return [
            self.scoring()(
                sparsity=params["sparsity"],
                sparsities=params["sparsities"],
                mask_structure=f"{n}:{m}",
                save_dtype=params["save_dtype"],
                refine=params.get(refinement.REFINE, 0),
                dampening=params.get(refinement.DAMPENING, 0.0),
                ignore=matrices.untreated(model),
            )
        ]
