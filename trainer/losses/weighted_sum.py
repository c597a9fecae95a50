"""Several losses over one batch, added up: for example distillation with a little InfoNCE.

    >>> WeightedSum([(1.0, SimilarityDistillation()), (0.3, InfoNCE())])(batch)
"""

from collections.abc import Callable, Sequence

from torch import Tensor

from trainer.losses.batch import EmbeddedBatch


class WeightedSum:
    def __init__(self, terms: Sequence[tuple[float, Callable[[EmbeddedBatch], Tensor]]]) -> None:
        self.terms = list(terms)

    def __call__(self, batch: EmbeddedBatch) -> Tensor:
        return sum(weight * loss(batch) for weight, loss in self.terms)
