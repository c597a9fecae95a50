"""What every provider offers. One contract suite (tests/test_provider_contract.py) runs over all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from trainer.synthesize.records import Assignment, Draft, Passage, Task


@dataclass(frozen=True)
class Attempt:
    """Which try at an assignment this is, and what was wrong with the one before."""

    number: int = 0
    complaint: str = ""


@dataclass(frozen=True)
class TaskOrder:
    """The tasks that are wanted: so many of each type, for a domain in words and samples of the corpus (either may be empty)."""

    types: Sequence[str]
    per_type: int
    domain: str
    samples: Sequence[Passage]
    seed: int


class Provider(Protocol):
    """Thread-safe. The same assignment and attempt give the same draft as far as the source behind it allows."""

    attempts: int  # how often one assignment may be written, when gates turn drafts down

    def facts(self) -> dict[str, Any]:
        """Names and versions for the manifest; a run resumes only if they are the same."""

    def tasks(self, order: TaskOrder) -> list[Task]:
        """At least one task of each type that this provider can write; ids are stable for the same order."""

    def suits(self, task: Task, passage: Passage) -> bool:
        """Whether the task can be written for this passage; cheap, nothing is asked."""

    def write(self, assignment: Assignment, attempt: Attempt) -> Draft:
        """A draft with a query, a positive (the passage, where the task is grounded and asymmetric) and as many negatives
        as there are levels, or none at all: then they are mined.

        Raises Unusable, EndpointFailed or StopRun (see errors.py).
        """

    def judge(self, task: Task, query: str, text: str) -> bool | None:
        """Whether `text` answers `query`; None where this provider cannot tell."""

    def interrupt(self) -> None:
        """Break off what is under way, from any thread; from now on `write` raises StopRun."""

    def close(self) -> None:
        """Free everything; nothing may be under way."""
