"""Distillation of a stronger embedder's similarity distributions (KL), as in contrastive distillation of KaLM-V2 and of DSE.

    P = softmax(teacher cosines of a text with others of the batch / T_t)        Q: the same of the model with T
    L = mean over texts of KL(P || Q)

The student needs no labels: any texts do, and its vectors may have other dimensions than the teacher's.

| a record brings | role |
|---|---|
| query, positive, negatives | `among: queries` (default): every query is compared with every positive and negative of the batch |
| the same | `among: texts`: every text of the batch is compared with every other, so that a batch teaches what two queries, or two documents, have in common |
| teacher vectors | computed by the loop from the recipe's `teacher` folder |

    >>> SimilarityDistillation(temperature=0.05, teacher_temperature=0.02)(batch)
"""

from dataclasses import replace

import torch
from torch import Tensor

from trainer.errors import InputError
from trainer.losses.batch import EmbeddedBatch


class SimilarityDistillation:
    def __init__(self, temperature: float = 0.05, teacher_temperature: float = 0.02, among: str = "queries") -> None:
        if among not in ("queries", "texts"):
            raise InputError(f"distillation's among must be queries or texts, not {among!r}")
        self.temperature, self.teacher_temperature, self.among = temperature, teacher_temperature, among

    def __call__(self, batch: EmbeddedBatch) -> Tensor:
        if batch.teacher is None:
            raise InputError("distillation needs a teacher: name a model folder in the recipe's `teacher`")
        scores, allowed = self._compared(batch)
        with torch.no_grad():
            teacher, _ = self._compared(replace(batch, embeddings=batch.teacher, exits={}))
            teacher = (teacher / self.teacher_temperature).masked_fill(~allowed, -torch.inf)
        logits = (scores / self.temperature).masked_fill(~allowed, -torch.inf)
        difference = (teacher.log_softmax(dim=1) - logits.log_softmax(dim=1)).masked_fill(~allowed, 0)
        return (teacher.softmax(dim=1) * difference).sum(dim=1).mean()

    def _compared(self, batch: EmbeddedBatch) -> tuple[Tensor, Tensor]:
        """Cosines [rows, others], and which of them count."""
        if self.among == "queries":
            candidates = replace(batch, extra_negatives=None).candidates()
            return candidates.scores, candidates.allowed
        scores = batch.embeddings @ batch.embeddings.T
        return scores, ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
