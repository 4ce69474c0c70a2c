"""How fast documents and tokens go by, told to whoever watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta


class Pace:
    """Counts what was answered, and says how much, how fast and how long it will still take.

    Answers that an earlier attempt left count as progress but not as speed.
    """

    def __init__(self, *, documents: int, requests: int, progress: Callable[..., None]) -> None:
        """``documents`` and ``requests``: how many there are to answer in all."""
        self._documents, self._requests, self._progress = documents, requests, progress
        self._began = time.perf_counter()
        self._settled, self._fresh, self._tokens = 0, 0, 0

    def answered(self, requests: int, tokens: int, *, fresh: bool) -> None:
        """A batch is there, ``fresh`` if the model answered it just now."""
        self._settled += requests
        if fresh:
            self._fresh += requests
            self._tokens += tokens
        fraction = self._settled / self._requests
        rates = self._rates(fraction, time.perf_counter() - self._began)
        self._progress(fraction, self._note(fraction, rates), **rates)

    def _rates(self, fraction: float, seconds: float) -> dict[str, float]:
        if not self._fresh or seconds <= 0:
            return {}
        rate = self._fresh / self._requests * self._documents / seconds
        return {
            "documents_per_s": rate,
            "tokens_per_s": self._tokens / seconds,
            "seconds_left": (1 - fraction) * self._documents / rate,
        }

    def _note(self, fraction: float, rates: Mapping[str, float]) -> str:
        done = f"{round(fraction * self._documents)}/{self._documents} documents"
        if not rates:
            return done
        left = timedelta(seconds=round(rates["seconds_left"]))
        return (
            f"{done}, {rates['documents_per_s']:.3g}/s, "
            f"{rates['tokens_per_s']:.3g} tokens/s, {left} left"
        )
