"""EGA: explicit gradient amplification of hard negatives in InfoNCE (arXiv 2506.02020).

The abstract analyses InfoNCE's gradients and amplifies those of hard negatives; the printed formula was not at hand, so this
is our derivation. With s_+ the cosine of query and positive, s_j of query and negative j, T the temperature and p_j the
softmax, InfoNCE has

    dL/ds_j = p_j / T            dL/ds_+ = -sum_j p_j / T

EGA keeps the value of InfoNCE and multiplies a negative's gradient by a factor of its hardness relative to the positive:

    h_j = s_j - s_+              a_j = min(exp(strength (h_j + margin)), limit)
    dL/ds_j = a_j p_j / T        dL/ds_+ = -sum_j a_j p_j / T

1. a_j grows with h_j: the harder, the more amplified.
2. a_j > 1 exactly where h_j > -margin: a negative closer than `margin` below the positive grows, an easier one shrinks.
3. The gradients still sum to zero: moving all cosines alike changes nothing, as in InfoNCE.
4. strength 0 is InfoNCE.

It is built as L + (S - value of S) with S = sum_j (a_j - 1) p_j / T x (s_j - s_+), a_j and p_j held constant in S: S adds the
gradients and no value, so that curves of runs with different strengths can be compared.

| a record brings | role |
|---|---|
| query, positive, negatives | as InfoNCE; graded negatives profit most |

    >>> ExplicitGradientAmplification(temperature=0.05, strength=4.0, margin=0.1)(batch)
"""

import torch
from torch import Tensor

from trainer.losses.batch import EmbeddedBatch
from trainer.losses.info_nce import cross_entropies


class ExplicitGradientAmplification:
    def __init__(self, temperature: float = 0.05, strength: float = 4.0, margin: float = 0.1, limit: float = 5.0) -> None:
        """`margin` is in cosine; `limit` bounds a_j, so that one mislabelled positive cannot rule a step."""
        self.temperature, self.strength, self.margin, self.limit = temperature, strength, margin, limit

    def factors(self, scores: Tensor, positives: Tensor) -> Tensor:
        """a [n, c] from cosines [n, c] and [n]."""
        return ((scores - positives[:, None] + self.margin) * self.strength).exp().clamp(max=self.limit)

    def __call__(self, batch: EmbeddedBatch) -> Tensor:
        candidates = batch.candidates()
        loss = cross_entropies(candidates, self.temperature).mean()
        with torch.no_grad():
            logits = (candidates.scores / self.temperature).masked_fill(~candidates.allowed, -torch.inf)
            factors = self.factors(candidates.scores, candidates.positives)
            added = (factors - 1) * logits.softmax(dim=1) / self.temperature * candidates.negatives_allowed
        surrogate = (added * (candidates.scores - candidates.positives[:, None])).sum(dim=1).mean()
        return loss + surrogate - surrogate.detach()
