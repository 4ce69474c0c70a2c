"""How fast documents and tokens go by, told to whoever watches."""

from __future__ import annotations

import time
from collections.abc import Callable
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
        self._progress(fraction, self._note(fraction, time.perf_counter() - self._began))

    def _note(self, fraction: float, seconds: float) -> str:
        done = f"{round(fraction * self._documents)}/{self._documents} documents"
        if not self._fresh or seconds <= 0:
            return done
        rate = self._fresh / self._requests * self._documents / seconds
        left = timedelta(seconds=round((1 - fraction) * self._documents / rate))
        return f"{done}, {rate:.3g}/s, {self._tokens / seconds:.3g} tokens/s, {left} left"
