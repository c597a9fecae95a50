"""How far a run is: log.jsonl with a line a step, and progress events, at most one a second."""

import json
import time
from pathlib import Path

from trainer.events import emit

PROGRESS_SECONDS = 1.0


class RunLog:
    """Written by the first process of a run; the others' calls do nothing."""

    def __init__(self, path: Path, steps: int, first: bool, stage: str = "finetune") -> None:
        self.path, self.steps, self.first, self.stage = path, steps, first, stage
        self._began = self._last_step = time.monotonic()
        self._last_event, self._seen_steps, self._seen_tokens = float("-inf"), 0, 0

    def resume(self, step: int) -> None:
        """Cut what a killed run logged after its last checkpoint, which is of `step`; a line that it tore is among that."""
        if self.first and self.path.is_file():
            lines = [line for line in self.path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n") and json.loads(line)["step"] <= step]
            self.path.write_text("".join(lines), encoding="utf-8")

    def step(self, step: int, loss: float, learning_rate: float, gradient_norm: float, tokens: int, source: int) -> None:
        """`step` counts from 0; `source` is its number in the stage."""
        if not self.first:
            return
        now = time.monotonic()
        self._seen_steps, self._seen_tokens = self._seen_steps + 1, self._seen_tokens + tokens
        line = {"step": step + 1, "loss": loss, "learningRate": learning_rate, "gradientNorm": gradient_norm, "tokens": tokens,
                "source": source, "seconds": round(now - self._last_step, 4)}
        self._last_step = now
        with self.path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        if now - self._last_event >= PROGRESS_SECONDS or step + 1 == self.steps:
            self._last_event = now
            elapsed = now - self._began
            emit("progress", stage=self.stage, step=step + 1, of=self.steps, loss=round(loss, 6), learningRate=learning_rate,
                 tokensPerSecond=round(self._seen_tokens / elapsed, 1),
                 etaSeconds=round(elapsed / self._seen_steps * (self.steps - step - 1), 1))
