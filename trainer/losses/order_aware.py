"""Order-aware STS loss (CoDiEmb, arXiv 2508.11442): optimize correlation and ranking directly, not a per-pair target.

    L = (1 - Pearson(s, gold)) + weight x KL( softmax(gold' / T) || softmax(s / T) )

over a batch of pairs, s the model's cosines and gold' the gold scores brought to [0, 1]. Pearson's correlation is what
Spearman's is on ranks and has a gradient; the second, list-wise term says where in the order the errors are. The paper
combines such terms; this combination and its weights are our reading of it.

| a record brings | role |
|---|---|
| query, positive | the two sentences |
| score | gold similarity, of any scale |

    >>> OrderAware(temperature=0.1, weight=1.0)(batch)
"""

from torch import Tensor

from trainer.errors import InputError
from trainer.losses.batch import EmbeddedBatch


def pearson(left: Tensor, right: Tensor) -> Tensor:
    """Correlation of two vectors; 0 where one of them is constant."""
    left, right = left - left.mean(), right - right.mean()
    return (left * right).sum() / (left.norm() * right.norm()).clamp(min=1e-8)


class OrderAware:
    def __init__(self, temperature: float = 0.1, weight: float = 1.0) -> None:
        self.temperature, self.weight = temperature, weight

    def __call__(self, batch: EmbeddedBatch) -> Tensor:
        if batch.scores is None:
            raise InputError("order_aware needs records with a score")
        scores, gold = batch.positive_scores(), batch.scores
        gold = (gold - gold.min()) / (gold.max() - gold.min()).clamp(min=1e-8)
        target = (gold / self.temperature).log_softmax(dim=0)
        divergence = (target.exp() * (target - (scores / self.temperature).log_softmax(dim=0))).sum()
        return 1 - pearson(scores, gold) + self.weight * divergence
