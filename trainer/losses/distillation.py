"""Distillation of a stronger embedder's similarity distributions (KL), as in contrastive distillation of KaLM-V2 and of DSE.

    P = softmax(teacher cosines of a query with all texts of the batch / T_t)        Q: the same of the model with T
    L = mean over queries of KL(P || Q)

The student needs no labels: any texts do, and its vectors may have other dimensions than the teacher's.

| a record brings | role |
|---|---|
| query, positive, negatives | every query is compared with every positive and negative of the batch |
| teacher vectors | computed by the loop from the recipe's `teacher` folder |

    >>> SimilarityDistillation(temperature=0.05, teacher_temperature=0.02)(batch)
"""

from dataclasses import replace

import torch
from torch import Tensor

from trainer.errors import InputError
from trainer.losses.batch import EmbeddedBatch


class SimilarityDistillation:
    def __init__(self, temperature: float = 0.05, teacher_temperature: float = 0.02) -> None:
        self.temperature, self.teacher_temperature = temperature, teacher_temperature

    def __call__(self, batch: EmbeddedBatch) -> Tensor:
        if batch.teacher is None:
            raise InputError("distillation needs a teacher: name a model folder in the recipe's `teacher`")
        student = replace(batch, extra_negatives=None).candidates()
        with torch.no_grad():
            teacher = replace(batch, embeddings=batch.teacher, exits={}, extra_negatives=None).candidates().scores
            teacher = (teacher / self.teacher_temperature).masked_fill(~student.allowed, -torch.inf)
        logits = (student.scores / self.temperature).masked_fill(~student.allowed, -torch.inf)
        difference = (teacher.log_softmax(dim=1) - logits.log_softmax(dim=1)).masked_fill(~student.allowed, 0)
        return (teacher.softmax(dim=1) * difference).sum(dim=1).mean()
