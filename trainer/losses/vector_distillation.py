"""Distillation of a stronger embedder's vectors themselves, as in Jasper and Stella's first stage (arXiv 2412.19048).

    L = mean over texts of 1 - cos(v, t)        t: the teacher's vector, brought into the student's space

Every text says 384 things at once where a distribution over a batch says what the batch has in it. Needs a recipe with
`teacher_aligned: true`, for a teacher's space is any rotation of the student's (trainer/teacher_alignment.py).

    >>> VectorDistillation()(batch)
"""

from torch import Tensor

from trainer.errors import InputError
from trainer.losses.batch import EmbeddedBatch


class VectorDistillation:
    def __call__(self, batch: EmbeddedBatch) -> Tensor:
        if batch.teacher is None or batch.teacher.shape != batch.embeddings.shape:
            raise InputError("vector_distillation needs a teacher in the student's space: set the recipe's teacher_aligned, and use the loss on whole vectors")
        return (1 - (batch.embeddings * batch.teacher).sum(dim=1)).mean()
