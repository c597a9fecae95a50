"""Training data without an LLM: queries taken from the corpus's own titles, sentences and questions.

A query's words are taken out of the positive, or the model would learn to match strings: the inverse cloze task (ORQA,
arXiv 1906.00300) for a sentence, and a title is never part of the text. Negatives are mined by whoever asked.
"""

import random
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from trainer.errors import InputError
from trainer.synthesize.errors import StopRun, Unusable
from trainer.synthesize.portions import halves, without
from trainer.synthesize.providers.provider import Attempt, TaskOrder
from trainer.synthesize.records import Assignment, Draft, Passage, Task
from trainer.synthesize.task_types import LONG, SHORT
from trainer.synthesize.words import sentences, words

TASKS = {
    "short-long": "Given a title, a question or a statement, retrieve the passage that it belongs to",
    "long-short": "Given a passage, retrieve its title or the sentence that belongs to it",
    "short-short": "Given a title, retrieve a sentence of the text under it",
    "long-long": "Given the beginning of a text, retrieve its continuation",
}
# "X is a Y", "X refers to Y": the sentence defines its subject, so "what is X" asks for it.
_DEFINITION = re.compile(r"^(?:(?:The|A|An)\s+)?([\w(][\w\s,()'’-]{2,60}?)\s+(is|are|was|were|refers to|means)\s+(?:a|an|the|one)\b")
_PRONOUNS = frozenset("it he she they this that these those there we i you here which such both each".split())


class Pair(NamedTuple):
    query: str
    positive: str
    portion: str  # what of a passage the positive is


class CorpusProvider:
    """Drafts without negatives, from the assignment's passage alone."""

    attempts = 3  # another way to a query each time

    def __init__(self) -> None:
        self._interrupted = False

    def facts(self) -> dict[str, Any]:
        return {"provider": "corpus", "version": 1}

    def tasks(self, order: TaskOrder) -> list[Task]:
        able = [name for name in order.types if name in TASKS]
        if not able:
            raise InputError(f"the corpus provider writes tasks of {', '.join(TASKS)}, not of {', '.join(order.types)}: those need an LLM")
        return [Task(f"corpus-{name}", name, TASKS[name]) for name in able]

    def suits(self, task: Task, passage: Passage) -> bool:
        return bool(_WAYS[task.type](passage))

    def write(self, assignment: Assignment, attempt: Attempt) -> Draft:
        if self._interrupted:
            raise StopRun("signal", "asked to stop")
        if assignment.passage is None:
            raise Unusable("reply", "no passage", "the corpus provider writes nothing without one")
        pairs = _WAYS[assignment.task.type](assignment.passage)
        random.Random(assignment.seed).shuffle(pairs)
        if attempt.number >= len(pairs):
            raise Unusable("reply", "nothing to ask", "the passage has no title, question or sentence to make a query of")
        query, positive, portion = pairs[attempt.number]
        return Draft(query, positive, model="corpus", prompt_version="corpus-1", portion=portion)

    def judge(self, task: Task, query: str, text: str) -> bool | None:
        return None

    def interrupt(self) -> None:
        self._interrupted = True

    def close(self) -> None:
        """There is nothing to free."""


def _short_long(passage: Passage) -> list[Pair]:
    parts = sentences(passage.text)
    pairs = [Pair(passage.title, passage.text, "text")]
    if len(parts) > 1:
        pairs += [Pair(part, without(parts, i), "text") for i, part in enumerate(parts[:3])]
    pairs += [Pair(question, passage.text, "text") for question in _questions(parts[:1])]
    return _fitting(pairs, SHORT, LONG)


def _long_short(passage: Passage) -> list[Pair]:
    parts = sentences(passage.text)
    pairs = [Pair(passage.text, passage.title, "title")]
    if len(parts) > 2:
        pairs += [Pair(without(parts, 0), parts[0], "first sentence"), Pair(without(parts, len(parts) - 1), parts[-1], "last sentence")]
    return _fitting(pairs, LONG, SHORT)


def _short_short(passage: Passage) -> list[Pair]:
    parts = sentences(passage.text)
    pairs = [Pair(passage.title, part, "first sentence") for part in parts[:1]]
    pairs += [Pair(question, parts[0], "first sentence") for question in _questions(parts[:1])]
    return _fitting(pairs, SHORT, SHORT)


def _long_long(passage: Passage) -> list[Pair]:
    first, second = halves(passage.text)
    return _fitting([Pair(first, second, "second half")], LONG, LONG)


_WAYS: dict[str, Callable[[Passage], list[Pair]]] = {
    "short-long": _short_long, "long-short": _long_short, "short-short": _short_short, "long-long": _long_long,
}


def _questions(parts: list[str]) -> list[str]:
    """"what is X" for a sentence that defines X."""
    found = [match for part in parts if (match := _DEFINITION.match(part)) and words(match[1])[0] not in _PRONOUNS]
    return [f"what {match[2] if match[2] in ('are', 'was', 'were') else 'is'} {match[1].strip()}" for match in found]


def _fitting(pairs: list[Pair], query: tuple[int, int], positive: tuple[int, int]) -> list[Pair]:
    """Pairs whose sides have the task type's lengths; an absent title has none."""
    return [pair for pair in pairs
            if query[0] <= len(words(pair.query)) <= query[1] and positive[0] <= len(words(pair.positive)) <= positive[1]]
