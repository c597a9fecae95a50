"""InfoNCE (van den Oord et al., arXiv 1807.03748) over in-batch and explicit negatives.

    L = mean over records i of  -log( exp(s_i+ / T) / (exp(s_i+ / T) + sum over negatives j of exp(s_ij / T)) )

| a record brings | role |
|---|---|
| query, positive | s_i+ is their cosine |
| negatives, none or more | own negatives; in the batch also everyone else's |

`symmetric` adds the same loss from each positive to all queries (CLIP, arXiv 2103.00020) and halves the sum.

    >>> InfoNCE(temperature=0.05)(batch)          # a scalar to call backward() on
"""

import torch
from torch import Tensor

from trainer.losses.batch import Candidates, EmbeddedBatch


def cross_entropies(candidates: Candidates, temperature: float) -> Tensor:
    """[n] InfoNCE of each record."""
    logits = (candidates.scores / temperature).masked_fill(~candidates.allowed, -torch.inf)
    return logits.logsumexp(dim=1) - logits.diagonal()


class InfoNCE:
    def __init__(self, temperature: float = 0.05, symmetric: bool = False) -> None:
        self.temperature = temperature
        self.symmetric = symmetric

    def __call__(self, batch: EmbeddedBatch) -> Tensor:
        candidates = batch.candidates()
        loss = cross_entropies(candidates, self.temperature).mean()
        if not self.symmetric:
            return loss
        count = len(batch.queries)
        # A positive's own query may be another record's, too, and is no negative there.
        same = (batch.queries[:, None] == batch.queries) & ~torch.eye(count, dtype=torch.bool, device=batch.queries.device)
        backward = Candidates(candidates.scores[:, :count].T, candidates.allowed[:, :count].T & ~same)
        return (loss + cross_entropies(backward, self.temperature).mean()) / 2
