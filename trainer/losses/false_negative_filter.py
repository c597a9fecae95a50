"""Adaptive-margin filter of false negatives (LG-ANNA, arXiv 2506.07438; the ratio as in NV-Retriever, arXiv 2407.15831).

A candidate nearly as similar to the query as the positive is more likely unlabelled than wrong. It is left out where

    s_j > ratio x s_+ - margin              (s_+ below zero: s_j > s_+ - margin)

so that the bound follows each query's positive instead of being one number for all. Similarities come from the teacher where
the batch has one, else from the model itself.

| a record brings | role |
|---|---|
| query, positive, negatives | as the inner loss |
| teacher vectors, optional | whose similarities decide |

    >>> FalseNegativeFilter(InfoNCE(), ratio=0.95)(batch)
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from trainer.losses.batch import EmbeddedBatch


def false_negatives(scores: Tensor, positives: Tensor, ratio: float, margin: float) -> Tensor:
    """[n, c] boolean: whether similarity [n, c] comes too close to the positive's [n]."""
    bound = torch.where(positives > 0, ratio * positives, positives) - margin
    return scores > bound[:, None]


class FalseNegativeFilter:
    def __init__(self, inner: Callable[[EmbeddedBatch], Tensor], ratio: float = 0.95, margin: float = 0.0) -> None:
        self.inner, self.ratio, self.margin = inner, ratio, margin

    def __call__(self, batch: EmbeddedBatch) -> Tensor:
        with torch.no_grad():
            vectors = batch.embeddings if batch.teacher is None else batch.teacher
            judge = replace(batch, embeddings=vectors, exits={}, extra_negatives=None)
            candidates = judge.candidates()
            denied = false_negatives(candidates.scores, candidates.positives, self.ratio, self.margin)
        return self.inner(replace(batch, denied=denied))
