"""Several teachers as one: a vector whose cosines are the weighted mean of theirs, each centred and scaled to the same spread.

    z_k(t) = (v_k(t) - m_k) / |v_k(t) - m_k|        m_k: mean of teacher k's vectors over a sample of the run's texts
    e(t)   = [sqrt(a_1) z_1(t), sqrt(a_2) z_2(t), ...]        a_k = (w_k / s_k) / sum over j of (w_j / s_j)
    cos(e(t), e(u)) = sum over k of a_k cos(z_k(t), z_k(u))

s_k is the standard deviation of cos(z_k) over pairs of the sample: one model's cosines lie between 0.7 and 1, another's between -0.1
and 1, and a plain mean would follow the latter. Embedders err in different places, so that their mean ranks better than each alone;
with the student's own base among them, it also holds the student to what it knows. Which mean is worth learning from can be
measured before anything is trained (bench/training/teachers.py).
"""

from collections.abc import Sequence

import numpy as np

from trainer.data.store import RecordStore
from trainer.errors import InputError
from trainer.recipe import Recipe
from trainer.teacher import Teacher, TextAndRole, open_teachers, texts_of

SAMPLE_MIN = 8  # texts; fewer say nothing of a spread
SAMPLE_RECORDS = 128  # of each source


def open_teacher(recipe: Recipe, stores: Sequence[RecordStore]) -> Teacher | None:
    """What the run learns from: the recipe's one teacher, its several as one, or None."""
    return as_one(open_teachers(recipe), recipe, stores)


def as_one(teachers: Sequence[Teacher], recipe: Recipe, stores: Sequence[RecordStore]) -> Teacher | None:
    """The recipe's teachers, opened, as open_teacher gives them; several are brought together by the first texts of each source."""
    if not recipe.teachers:
        return teachers[0] if teachers else None
    sample = [text for store in stores for text in texts_of(store, range(min(len(store), SAMPLE_RECORDS)))]
    return Ensemble(teachers, [share.weight for share in recipe.teachers], list(dict.fromkeys(sample)))


class Ensemble:
    """A Teacher. Where its mean and spread come from is given, so that every process and every run over the same texts has the same."""

    def __init__(self, teachers: Sequence[Teacher], weights: Sequence[float], sample: Sequence[TextAndRole]) -> None:
        if len(sample) < SAMPLE_MIN:
            raise InputError(f"several teachers need at least {SAMPLE_MIN} texts to be scaled alike, not {len(sample)}")
        if min(weights) < 0 or not sum(weights) > 0:
            raise InputError("teachers' weights must be 0 or more, and one of them more")
        self.teachers, self.sample = teachers, list(sample)
        self.means: list[np.ndarray] = []
        spreads = []
        for teacher in teachers:
            vectors = teacher(self.sample)
            self.means.append(vectors.mean(axis=0))
            spreads.append(_spread(_centred(vectors, self.means[-1])))
        shares = np.array(weights) / np.array(spreads)
        self.shares = shares / shares.sum()

    def __call__(self, texts: list[TextAndRole]) -> np.ndarray:
        """[texts, sum of the teachers' dimensions], rows of length 1"""
        parts = [_centred(teacher(texts), mean) for teacher, mean in zip(self.teachers, self.means, strict=True)]
        return np.concatenate([np.sqrt(share) * part for share, part in zip(self.shares, parts, strict=True)], axis=1).astype(np.float32)


def _centred(vectors: np.ndarray, mean: np.ndarray) -> np.ndarray:
    apart = vectors - mean
    return apart / np.maximum(np.linalg.norm(apart, axis=1, keepdims=True), 1e-12)


def _spread(rows: np.ndarray) -> float:
    """Standard deviation of the cosines of all pairs of `rows`."""
    cosines = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
    return max(float(cosines.std()), 1e-6)
