"""Progress events with an estimate of the time left."""

import time

from trainer.events import emit


class Progress:
    """Emits `progress` for one stage, at most once in `every_seconds`, and always at the end."""

    def __init__(self, stage: str, of: int, every_seconds: float = 1.0) -> None:
        self.stage, self.of, self.every_seconds = stage, of, every_seconds
        self._started = time.monotonic()
        self._last = float("-inf")
        self._first: int | None = None

    def at(self, step: int, **fields: object) -> None:
        """`step` counts up to `of`; work that an earlier run did is part of `step` and not of the rate."""
        now = time.monotonic()
        if self._first is None:
            self._first, self._started = step, now
        if step < self.of and now - self._last < self.every_seconds:
            return
        self._last = now
        done = step - self._first
        eta = (now - self._started) / done * (self.of - step) if done else None
        emit("progress", stage=self.stage, step=step, of=self.of, etaSeconds=None if eta is None else round(eta, 1), **fields)
