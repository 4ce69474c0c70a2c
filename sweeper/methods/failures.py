"""Collects the layers that a method could not treat, for one message that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sweeper.errors import StageFailure, several
from sweeper.methods.hessian import NotPositiveDefinite


class Failures:
    """What went wrong in one decoder layer.

    Args:
        knob: the configuration key that cures it.
        value: its present value.
        wrong: what a matrix that cannot be factored means here.
    """

    def __init__(
        self, *, knob: str, value: object, wrong: str = "the Hessian cannot be inverted"
    ) -> None:
        self._knob, self._value, self._wrong = knob, value, wrong
        self._found: dict[str, list[str]] = {}

    @contextmanager
    def of(self, names: list[str]) -> Iterator[None]:
        """Inside, a numerical failure is charged to the matrices ``names``."""
        try:
            yield
        except NotPositiveDefinite:
            self._found.setdefault(self._wrong, []).extend(names)
        except FloatingPointError:
            self._found.setdefault("the new weights are not finite", []).extend(names)

    def raise_if_any(self) -> None:
        """End the stage if a layer failed.

        Raises:
            StageFailure: names reasons, layers and the knob.
        """
        if self._found:
            found = "; ".join(f"{why}: {several(who)}" for why, who in self._found.items())
            raise StageFailure(
                f"{found}. Raise {self._knob} (now {self._value}; try ten times as much) "
                "or calibrate with more text."
            )
