"""Soft labels (LG-ANNA, arXiv 2506.07438): graded relevance of a record's own texts, learned as a distribution.

    q = softmax(t / T_t)  over the teacher's scores t of a record's positive and negatives
    L = mean over records of cross-entropy(q, softmax(s / T))          s: the model's cosines of the same texts

Where one record's texts differ in relevance by degrees, a hard label throws the degrees away.

| a record brings | role |
|---|---|
| query, positive, negatives | candidates of this record alone |
| pos_scores, neg_scores | the teacher's scores, of any scale: T_t sets it |

    >>> SoftLabels(temperature=0.05, teacher_temperature=1.0)(batch)
"""

import torch
from torch import Tensor

from trainer.errors import InputError
from trainer.losses.batch import EmbeddedBatch


class SoftLabels:
    def __init__(self, temperature: float = 0.05, teacher_temperature: float = 1.0) -> None:
        self.temperature, self.teacher_temperature = temperature, teacher_temperature

    def __call__(self, batch: EmbeddedBatch) -> Tensor:
        if batch.teacher_positives is None or batch.teacher_negatives is None:
            raise InputError("soft_labels needs records with pos_scores and neg_scores")
        mask = torch.cat([torch.ones_like(batch.negatives_mask[:, :1]), batch.negatives_mask], dim=1)
        scores = torch.cat([batch.positive_scores()[:, None], batch.own_negative_scores()], dim=1) / self.temperature
        teacher = torch.cat([batch.teacher_positives[:, None], batch.teacher_negatives], dim=1) / self.teacher_temperature
        target = teacher.masked_fill(~mask, -torch.inf).softmax(dim=1)
        log_probabilities = scores.masked_fill(~mask, -torch.inf).log_softmax(dim=1)
        return -(target * log_probabilities.masked_fill(~mask, 0)).sum(dim=1).mean()
