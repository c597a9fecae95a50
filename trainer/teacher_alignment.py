"""A teacher's vectors brought into the student's space, so that a student can learn the vectors themselves and not only their cosines.

    v' = R normalize(v - m)        m: mean of the teacher's vectors; R: argmin ||S - R T||, R orthogonal (Schoenemann 1966)

over a sample of texts, S the student's vectors before training and T the teacher's without their mean. An encoder's vectors
share a large common part (bge-small's unrelated texts have cosines of 0.4 and more) that tells texts apart nowhere; without it,
and turned, the teacher asks of the student as little movement as it can. Cosines among v' are those of normalize(v - m).
"""

from collections.abc import Sequence

import numpy as np

from trainer.errors import InputError
from trainer.evaluate.encoders import TextEncoder
from trainer.teacher import Teacher, TextAndRole

SAMPLE_TEXTS = 4096


class AlignedTeacher:
    """Vectors [texts, student's dimensions] of length 1. The same student, teacher and sample give the same alignment."""

    def __init__(self, teacher: Teacher, student: TextEncoder, sample: Sequence[TextAndRole]) -> None:
        target = student.encode([text for text, _ in sample], "")
        vectors = teacher(list(sample))
        if vectors.shape[1] < target.shape[1]:
            raise InputError(f"teacher_aligned: the teacher's {vectors.shape[1]} dimensions cannot fill the student's {target.shape[1]}")
        self.teacher, self.mean = teacher, vectors.mean(axis=0)
        left, _, right = np.linalg.svd(self._centred(vectors).T @ target, full_matrices=False)
        self.rotation = left @ right  # [teacher dimensions, student dimensions]
        self.cosine = float((self(list(sample)) * target).sum(axis=1).mean())  # of the student's vectors and its targets, before training

    def __call__(self, texts: list[TextAndRole]) -> np.ndarray:
        moved = self._centred(self.teacher(texts)) @ self.rotation
        return moved / np.linalg.norm(moved, axis=1, keepdims=True)

    def _centred(self, vectors: np.ndarray) -> np.ndarray:
        centred = vectors - self.mean
        return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)
