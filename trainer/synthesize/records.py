"""What passes between the steps: a passage and a task make an assignment, a provider makes it a draft, gates make it a record."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Passage:
    """A text of the user's collection. `text` has no title in it, so that a title can be asked for without being read off."""

    id: str
    text: str
    title: str = ""
    source: str = ""


@dataclass(frozen=True)
class Task:
    """What a searcher wants, in one sentence; `type` is a key of task_types.TASK_TYPES."""

    id: str
    type: str
    instruction: str


@dataclass(frozen=True)
class Assignment:
    """One record to be made. The same id, task, passage and seed always ask the same."""

    id: str
    task: Task
    passage: Passage | None
    seed: int


@dataclass(frozen=True)
class Negative:
    """A text that does not answer the query; `level` is the hardness asked for, 1 the easiest."""

    text: str
    level: int
    origin: str = "written"  # or the id of a real passage


@dataclass(frozen=True)
class Draft:
    """What a provider made of an assignment, before the gates. Without negatives, they are mined from the corpus.

    `portion` says what part of a passage the positive is (a key of portions.PORTIONS), so that mined negatives are alike.
    """

    query: str
    positive: str
    negatives: tuple[Negative, ...] = ()
    model: str = ""
    prompt_version: str = ""
    portion: str = "text"


@dataclass(frozen=True)
class Record:
    """A finished training record; `row()` is its line in the data set."""

    assignment: Assignment
    draft: Draft  # its negatives are in order of rising measured similarity
    language: str
    positive_similarity: float
    negative_similarities: tuple[float, ...]

    def row(self) -> dict[str, Any]:
        """FlagEmbedding's fields (query, pos, neg), then ours; `task` is the instruction, for models that want it before the query."""
        task, passage, draft = self.assignment.task, self.assignment.passage, self.draft
        return {
            "query": draft.query,
            "pos": [draft.positive],
            "neg": [negative.text for negative in draft.negatives],
            "neg_levels": list(range(1, len(draft.negatives) + 1)),
            "neg_levels_asked": [negative.level for negative in draft.negatives],
            "neg_origins": [negative.origin for negative in draft.negatives],
            "pos_similarities": [round(self.positive_similarity, 5)],
            "neg_similarities": [round(value, 5) for value in self.negative_similarities],
            "id": self.assignment.id,
            "task": task.instruction,
            "task_type": task.type,
            "task_id": task.id,
            "language": self.language,
            "passage_id": passage.id if passage else "",
            "passage_source": passage.source if passage else "",
            "model": draft.model,
            "prompt_version": draft.prompt_version,
            "seed": self.assignment.seed,
        }


@dataclass(frozen=True)
class Drop:
    """What a gate kept out and why; `row()` is its line in dropped.jsonl."""

    assignment: Assignment
    gate: str
    reason: str
    detail: str = ""
    what: str = "record"  # or "negative": the record lived on, or failed later for want of negatives
    text: dict[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        task, passage = self.assignment.task, self.assignment.passage
        return {
            "id": self.assignment.id, "what": self.what, "gate": self.gate, "reason": self.reason, "detail": self.detail,
            "task_type": task.type, "task_id": task.id, "passage_id": passage.id if passage else "", **self.text,
        }
