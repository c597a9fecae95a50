"""CoSENT (Jianlin Su, 2022, kexue.fm/archives/8847): the order of graded pairs, with no threshold to choose.

    L = log(1 + sum over pairs a, b with gold_a > gold_b of exp((s_b - s_a) / T))

| a record brings | role |
|---|---|
| query, positive | the two sentences |
| score | gold similarity, of any scale |

    >>> CoSENT(temperature=0.05)(batch)
"""

import torch
from torch import Tensor

from trainer.errors import InputError
from trainer.losses.batch import EmbeddedBatch


class CoSENT:
    def __init__(self, temperature: float = 0.05) -> None:
        self.temperature = temperature

    def __call__(self, batch: EmbeddedBatch) -> Tensor:
        if batch.scores is None:
            raise InputError("cosent needs records with a score")
        scores = batch.positive_scores() / self.temperature
        ordered = batch.scores[:, None] > batch.scores[None, :]
        differences = (scores[None, :] - scores[:, None])[ordered]
        return torch.cat([differences.new_zeros(1), differences]).logsumexp(dim=0)
