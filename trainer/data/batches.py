"""Batches of one source each (CoDiEmb: tasks do not mix within a batch), drawn so that a step alone decides its batch.

Which source a step takes, which records, and which of their negatives follow from the seed and the step's number. A resumed
run therefore needs no state of the data, and every process of a run can make the same global batch by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from trainer.data.curriculum import LevelDifficulty, choose_negatives
from trainer.data.records import Record
from trainer.data.store import RecordStore
from trainer.losses.batch import EmbeddedBatch


@dataclass(frozen=True)
class TextBatch:
    """Distinct texts, prompts included, and how the records of one source point at them."""

    source: int
    texts: list[str]
    plain: list[tuple[str, str]]  # the same texts without prompts, each with its role, for a teacher that has its own prompts
    indices: EmbeddedBatch  # with empty embeddings: the rows, masks and scores
    levels: torch.Tensor  # [n, k] hardness level of each negative


class Stage:
    """The batches of one stage of the schedule."""

    def __init__(self, stores: Sequence[RecordStore], weights: Sequence[float], batch: int, steps: int, order: str, seed: int,
                 together: Sequence[int] = ()) -> None:
        """`together`: of each store, how many consecutive records stay side by side; a batch that is a multiple of it splits none of them."""
        self.stores, self.batch, self.steps, self.order, self.seed = stores, batch, steps, order, seed
        self.together = list(together) or [1] * len(stores)
        shares = np.array(weights) / sum(weights)
        self._sources = np.random.default_rng([seed, 0]).choice(len(stores), size=steps, p=shares)
        # How many batches of the same source come before each step.
        self._before = np.zeros(steps, dtype=np.int64)
        for source in range(len(stores)):
            steps_of_source = np.flatnonzero(self._sources == source)
            self._before[steps_of_source] = np.arange(len(steps_of_source))
        self._permutations: dict[tuple[int, int], np.ndarray] = {}

    def source(self, step: int) -> int:
        return int(self._sources[step])

    def numbers(self, step: int) -> list[int]:
        """Numbers of the records of `step` in their store: each epoch is one permutation, and no record comes twice in it."""
        source = self.source(step)
        size = len(self.stores[source])
        start = int(self._before[step]) * self.batch
        return [int(self._permutation(source, position // size)[position % size]) for position in range(start, start + self.batch)]

    def records(self, step: int, difficulty: LevelDifficulty) -> list[tuple[Record, list[int]]]:
        """The records of `step`, each with the numbers of the negatives that the curriculum gives it now."""
        store = self.stores[self.source(step)]
        generator = np.random.default_rng([self.seed, 1, step])
        progress = step / self.steps
        chosen = []
        for number in self.numbers(step):
            record = store[number]
            chosen.append((record, choose_negatives(record, self.order, store.summary.levels, progress, generator, difficulty)))
        return chosen

    def _permutation(self, source: int, epoch: int) -> np.ndarray:
        key = (source, epoch)
        if key not in self._permutations:
            for old in [old for old in self._permutations if old[0] == source and old[1] < epoch - 1]:
                del self._permutations[old]
            size, side = len(self.stores[source]), self.together[source]
            groups = np.random.default_rng([self.seed, 2, source, epoch]).permutation(-(-size // side))
            numbers = (groups[:, None] * side + np.arange(side)).reshape(-1)
            self._permutations[key] = numbers[numbers < size]
        return self._permutations[key]


def collate(
    chosen: Sequence[tuple[Record, Sequence[int]]], source: int, query_prompt: str = "", document_prompt: str = "", in_batch: bool = True,
) -> TextBatch:
    """Give every distinct text one row. A record's own prompt, where it has one, stands before its query instead of the source's."""
    rows: dict[str, int] = {}
    plain: list[tuple[str, str]] = []

    def row(prompt: str, text: str, role: str) -> int:
        if prompt + text not in rows:
            rows[prompt + text] = len(plain)
            plain.append((text, role))
        return rows[prompt + text]

    width = max((len(numbers) for _, numbers in chosen), default=0)
    queries = [row(record.prompt or query_prompt, record.query, "query") for record, _ in chosen]
    positives = [row(document_prompt, record.positive, "document") for record, _ in chosen]
    negatives = torch.zeros(len(chosen), width, dtype=torch.long)
    mask = torch.zeros(len(chosen), width, dtype=torch.bool)
    levels = torch.zeros(len(chosen), width, dtype=torch.long)
    teacher = torch.zeros(len(chosen), width)
    for i, (record, numbers) in enumerate(chosen):
        for j, number in enumerate(numbers):
            negatives[i, j] = row(document_prompt, record.negatives[number], "document")
            mask[i, j], levels[i, j] = True, record.levels[number]
            teacher[i, j] = record.negative_scores[number] if record.negative_scores else 0.0
    scored = all(record.positive_score is not None for record, _ in chosen)
    indices = EmbeddedBatch(
        embeddings=torch.empty(0), queries=torch.tensor(queries), positives=torch.tensor(positives), negatives=negatives,
        negatives_mask=mask, in_batch=in_batch, scores=_column([record.score for record, _ in chosen]),
        teacher_positives=_column([record.positive_score for record, _ in chosen]), teacher_negatives=teacher if scored else None)
    return TextBatch(source, list(rows), plain, indices, levels)


def _column(values: Sequence[float | None]) -> torch.Tensor | None:
    """[n], or nothing where a record has no value."""
    return None if any(value is None for value in values) else torch.tensor(values, dtype=torch.float32)
