"""Online hard-negative mixing (KaLM-Embedding-V2, arXiv 2506.20923; MoCHi, arXiv 2010.01028): new negatives from the hardest ones.

Each query's `hardest` candidates are mixed in two ways, and the mixtures brought back to length 1 and held constant:

    pair-wise   lambda n_a + (1 - lambda) n_b        a and b drawn from the hardest, lambda from Beta(2, 2)
    list-wise   sum_a softmax_a(s_a / T) n_a         one that leans to the hardest

They join the query's own negatives of the inner loss. Draws come from PyTorch's generator: a seed fixes them.

| a record brings | role |
|---|---|
| query, positive, negatives | with less than two candidates allowed a query, the mixture is the one there is, or nothing |

    >>> HardNegativeMixing(InfoNCE(), hardest=4, pairs=2)(batch)
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from trainer.losses.batch import EmbeddedBatch


class HardNegativeMixing:
    def __init__(self, inner: Callable[[EmbeddedBatch], Tensor], hardest: int = 4, pairs: int = 2, temperature: float = 0.05) -> None:
        self.inner, self.hardest, self.pairs, self.temperature = inner, hardest, pairs, temperature

    def __call__(self, batch: EmbeddedBatch) -> Tensor:
        return self.inner(replace(batch, extra_negatives=self.mixtures(batch)))

    @torch.no_grad()
    def mixtures(self, batch: EmbeddedBatch) -> Tensor:
        """[n, pairs + 1, dimensions] of length 1."""
        candidates = batch.candidates()
        scores = candidates.scores.masked_fill(~candidates.negatives_allowed, -torch.inf)
        top, columns = scores.topk(min(self.hardest, scores.shape[1]), dim=1)
        # Where a query has fewer candidates than `hardest`, its best one stands in.
        columns = torch.where(top.isfinite(), columns, columns[:, :1])
        rows = torch.cat([batch.positives, batch.negatives.reshape(-1)])
        vectors = batch.embeddings[rows][columns]
        first, second = (torch.randint(columns.shape[1], (len(columns), self.pairs), device=columns.device) for _ in range(2))
        share = torch.distributions.Beta(2.0, 2.0).sample((len(columns), self.pairs, 1)).to(vectors)
        picked = [vectors.gather(1, index[..., None].expand(-1, -1, vectors.shape[2])) for index in (first, second)]
        pair_wise = share * picked[0] + (1 - share) * picked[1]
        weights = (top / self.temperature).softmax(dim=1)
        list_wise = torch.einsum("nh,nhd->nd", weights.nan_to_num(), vectors)[:, None]
        mixed = torch.nn.functional.normalize(torch.cat([pair_wise, list_wise], dim=1), dim=-1)
        # What has nothing to be mixed of is as far from its query as can be, and so pushes nothing.
        return torch.where(top.isfinite().any(dim=1)[:, None, None], mixed, -batch.embeddings[batch.queries][:, None])
