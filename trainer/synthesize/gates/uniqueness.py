"""Gates that look at the data set so far: no query twice, and no positive that other records' positives outdo for its own query.

Drafts come here in the order of the plan, so that the same run keeps the same records whatever finished first.
"""

import numpy as np

from trainer.synthesize.errors import Unusable
from trainer.synthesize.words import words

DUPLICATE_COSINE = 0.95
BLOCK = 1024


class Uniqueness:
    """Vectors of the records kept so far, in memory: 3 kB a record at 384 dimensions."""

    def __init__(self, dimensions: int) -> None:
        self._queries = np.zeros((BLOCK, dimensions), np.float32)
        self._positives = np.zeros((BLOCK, dimensions), np.float32)
        self._known: set[tuple[str, ...]] = set()
        self._count = 0

    def check(self, query: str, vector: np.ndarray) -> None:
        """Raise Unusable for a query that the data set has in the same or nearly the same words."""
        if tuple(words(query)) in self._known:
            raise Unusable("duplicate", "same query", query[:120])
        closest = float((self._queries[: self._count] @ vector).max(initial=-1.0))
        if closest >= DUPLICATE_COSINE:
            raise Unusable("duplicate", "nearly the same query", f"cosine {closest:.3f}: {query[:120]}")

    def check_positive(self, query: np.ndarray, positive: np.ndarray, rank_limit: int) -> None:
        """Round trip without a corpus: raise Unusable if `rank_limit` or more positives are closer to the query than its own."""
        rank = int((self._positives[: self._count] @ query > query @ positive).sum()) + 1
        if rank > rank_limit:
            raise Unusable("uniqueness", "positive not found among the others", f"rank {rank} of {self._count + 1}")

    def add(self, query: str, vector: np.ndarray, positive: np.ndarray) -> None:
        if self._count == len(self._queries):
            self._queries = np.concatenate([self._queries, np.zeros_like(self._queries)])
            self._positives = np.concatenate([self._positives, np.zeros_like(self._positives)])
        self._queries[self._count], self._positives[self._count] = vector, positive
        self._known.add(tuple(words(query)))
        self._count += 1
