"""Focal reweighting of InfoNCE (KaLM-Embedding-V2, arXiv 2506.20923, after focal loss, arXiv 1708.02002).

    L = mean over records of (1 - p_i)^focus x InfoNCE_i          p_i: the softmax probability of record i's own positive

A record that is solved already (p near 1) weighs next to nothing. The weight is held constant, so it scales the record's
gradient and adds none of its own. focus 0 is InfoNCE; KaLM-V2 uses 0.5.

| a record brings | role |
|---|---|
| query, positive, negatives | as InfoNCE |

    >>> FocalInfoNCE(temperature=0.05, focus=0.5)(batch)
"""

from torch import Tensor

from trainer.losses.batch import EmbeddedBatch
from trainer.losses.info_nce import cross_entropies


class FocalInfoNCE:
    def __init__(self, temperature: float = 0.05, focus: float = 0.5) -> None:
        self.temperature, self.focus = temperature, focus

    def __call__(self, batch: EmbeddedBatch) -> Tensor:
        losses = cross_entropies(batch.candidates(), self.temperature)
        weights = (1 - (-losses.detach()).exp()).clamp(min=0) ** self.focus
        return (weights * losses).mean()
