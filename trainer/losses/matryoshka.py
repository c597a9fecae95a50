"""Matryoshka representation learning (arXiv 2205.13147): the first dimensions alone must do as well as they can.

    L = sum over sizes m of weight_m x inner(first m dimensions, brought back to length 1) / sum of weights

Sizes go into the manifest's matryoshkaDimensions; the server cuts vectors to any of them. Any inner loss will do.

    >>> Matryoshka(InfoNCE(), dimensions=[384, 256, 128, 64])(batch)
"""

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn.functional import normalize

from trainer.losses.batch import EmbeddedBatch


class Matryoshka:
    def __init__(self, inner: Callable[[EmbeddedBatch], Tensor], dimensions: Sequence[int], weights: Sequence[float] | None = None) -> None:
        self.inner, self.dimensions = inner, list(dimensions)
        self.weights = list(weights or [1.0] * len(self.dimensions))

    def __call__(self, batch: EmbeddedBatch) -> Tensor:
        terms = [weight * self.inner(batch.with_embeddings(lambda vectors, size=size: normalize(vectors[..., :size], dim=-1)))
                 for size, weight in zip(self.dimensions, self.weights, strict=True)]
        return sum(terms) / sum(self.weights)
