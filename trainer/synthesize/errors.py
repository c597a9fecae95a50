"""How drafting fails: each class says what happens to the assignment and to the run.

| class | the assignment | the run |
|---|---|---|
| Unusable | dropped, its reason kept | goes on |
| EndpointFailed | stays open, asked again by the next run | goes on, until too many in a row |
| StopRun | stays open | ends cleanly: what is finished is published |
"""

from trainer.errors import TrainerError


class Unusable(Exception):
    """The answer was given and paid for, and cannot become a draft."""

    def __init__(self, gate: str, reason: str, detail: str = "") -> None:
        super().__init__(f"{gate}: {reason}" + (f" ({detail})" if detail else ""))
        self.gate, self.reason, self.detail = gate, reason, detail


class EndpointFailed(Exception):
    """No answer, after every retry."""


class StopRun(Exception):
    """The run must not ask any further; `reason` is budget, signal, refused or unreachable."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class EndpointError(TrainerError):
    """The endpoint refuses the key or the model, or cannot be reached; what was finished is on disk."""

    exit_code = 4
