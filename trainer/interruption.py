"""SIGTERM and SIGINT mean: finish the step, write a checkpoint, leave. A second signal ends the process at once."""

import signal
from types import FrameType, TracebackType

from trainer.errors import TrainerError


class Interrupted(TrainerError):
    """A signal ended the run; the same command goes on from its last checkpoint."""

    exit_code = 143


class StopSignal:
    """A context in which `asked` becomes True when the process is asked to stop."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopSignal":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
