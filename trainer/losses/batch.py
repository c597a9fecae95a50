"""What every loss is given: the embeddings of a batch's texts and how its records point at them.

A batch holds n records of one source. Each has a query, a positive and up to k negatives, and every text is embedded once,
however often it occurs. Embeddings have length 1, so a product is a cosine.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Candidates:
    """Cosines of each query with everything in the batch, and which of them it is compared with."""

    scores: Tensor  # [n, c]: c candidates, the n positives first, then each record's own negatives one record after another
    allowed: Tensor  # [n, c] boolean: the record's own positive, and every candidate that may count as its negative

    @property
    def positives(self) -> Tensor:
        """[n] cosines of each query with its own positive."""
        return self.scores.diagonal()

    @property
    def negatives_allowed(self) -> Tensor:
        """[n, c]: `allowed` without the diagonal of positives."""
        return self.allowed & ~torch.eye(*self.allowed.shape, dtype=torch.bool, device=self.allowed.device)


@dataclass(frozen=True)
class EmbeddedBatch:
    """Embeddings [texts, dimensions] and the rows of them that records use."""

    embeddings: Tensor
    queries: Tensor  # [n] rows of `embeddings`
    positives: Tensor  # [n]
    negatives: Tensor  # [n, k]; where a record has fewer, the row is 0 and the mask False
    negatives_mask: Tensor  # [n, k] boolean
    scores: Tensor | None = None  # [n] gold similarity of query and positive, for STS
    teacher_positives: Tensor | None = None  # [n] a cross-encoder's score of query and positive
    teacher_negatives: Tensor | None = None  # [n, k] and of query and negative
    teacher: Tensor | None = None  # [texts, teacher dimensions] a stronger embedder's vectors of the same texts
    exits: dict[int, Tensor] = field(default_factory=dict)  # layer -> [texts, dimensions], for 2DMSE
    extra_negatives: Tensor | None = None  # [n, m, dimensions] made ones (hard-negative mixing), each its own record's
    in_batch: bool = True  # whether the other records' texts count as negatives
    denied: Tensor | None = None  # [n, c] boolean: candidates a filter took for false negatives

    def with_embeddings(self, change: Callable[[Tensor], Tensor]) -> "EmbeddedBatch":
        """The same records over changed vectors; exits and made negatives are changed alike."""
        return replace(self, embeddings=change(self.embeddings), exits={layer: change(exit_) for layer, exit_ in self.exits.items()},
                       extra_negatives=None if self.extra_negatives is None else change(self.extra_negatives))

    def candidates(self) -> Candidates:
        """Every query against all positives and all negatives of the batch, or against its own record's alone.

        Another record's text that is equal to the query or its positive is no negative.
        """
        count, width = self.negatives.shape
        rows = torch.cat([self.positives, self.negatives.reshape(-1)])
        scores = self.embeddings[self.queries] @ self.embeddings[rows].T
        own = torch.eye(count, dtype=torch.bool, device=scores.device)
        others = ~own if self.in_batch else torch.zeros_like(own)
        own_negatives = own.repeat_interleave(width, dim=1)
        negatives = self.negatives_mask.reshape(1, -1) & (own_negatives | self.in_batch)
        allowed = torch.cat([others, negatives], dim=1)
        same = (rows == self.queries[:, None]) | (rows == self.positives[:, None])
        allowed = allowed & ~same
        if self.denied is not None:
            allowed = allowed & ~self.denied
        allowed = allowed | torch.cat([own, torch.zeros_like(own_negatives)], dim=1)
        if self.extra_negatives is not None:
            extra = torch.einsum("nd,nmd->nm", self.embeddings[self.queries], self.extra_negatives)
            scores = torch.cat([scores, _own_columns(extra)], dim=1)
            allowed = torch.cat([allowed, own.repeat_interleave(extra.shape[1], dim=1)], dim=1)
        return Candidates(scores, allowed)

    def own_negative_scores(self) -> Tensor:
        """[n, k] cosines of each query with its own record's negatives."""
        return torch.einsum("nd,nkd->nk", self.embeddings[self.queries], self.embeddings[self.negatives])

    def positive_scores(self) -> Tensor:
        """[n]"""
        return (self.embeddings[self.queries] * self.embeddings[self.positives]).sum(dim=1)


def _own_columns(extra: Tensor) -> Tensor:
    """[n, m] scores of made negatives -> [n, n m], each row's in its own columns, so that `candidates` stays one matrix."""
    count, width = extra.shape
    return extra.new_zeros(count, count, width).index_put(
        (torch.arange(count), torch.arange(count)), extra).reshape(count, count * width)
