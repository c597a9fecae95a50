"""MarginMSE (Hofstätter et al., arXiv 2010.02666): the teacher's margin between positive and negative, as a regression.

    L = mean over records and their negatives of (scale (s_+ - s_j) - (t_+ - t_j))^2

Distils a cross-encoder (DSE, PEG): its scores need not be calibrated, only their differences. `scale` brings cosines, whose
margin is at most 2, to the teacher's range.

| a record brings | role |
|---|---|
| query, positive, negatives | s_+ and s_j |
| pos_scores, neg_scores | t_+ and t_j |

    >>> MarginMSE(scale=10.0)(batch)
"""

from torch import Tensor

from trainer.errors import InputError
from trainer.losses.batch import EmbeddedBatch


class MarginMSE:
    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def __call__(self, batch: EmbeddedBatch) -> Tensor:
        if batch.teacher_positives is None or batch.teacher_negatives is None:
            raise InputError("margin_mse needs records with pos_scores and neg_scores")
        margins = self.scale * (batch.positive_scores()[:, None] - batch.own_negative_scores())
        errors = (margins - (batch.teacher_positives[:, None] - batch.teacher_negatives)) ** 2
        return (errors * batch.negatives_mask).sum() / batch.negatives_mask.sum().clamp(min=1)
