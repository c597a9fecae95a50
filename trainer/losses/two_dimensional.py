"""2DMSE: Matryoshka over layers (arXiv 2402.14776): earlier layers, pooled and normalized alike, must serve as embeddings too.

    L = inner(last layer) + exit_weight / exits x sum over exit layers l of
            ( inner(layer l) + alignment x mean over texts of (1 - cos(e_l, e_last held constant)) )

With a Matryoshka inner loss, every pair of layer and dimension is trained. The alignment pulls an early exit towards the last
layer (the paper's KL term, here on the vectors themselves, which needs no temperature). The loop computes the exits that the
recipe's `exit_layers` names.

    >>> TwoDimensional(Matryoshka(InfoNCE(), [384, 128]), exit_weight=0.5)(batch)
"""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor
from torch.nn.functional import cosine_similarity

from trainer.errors import InputError
from trainer.losses.batch import EmbeddedBatch


class TwoDimensional:
    def __init__(self, inner: Callable[[EmbeddedBatch], Tensor], exit_weight: float = 1.0, alignment: float = 1.0) -> None:
        self.inner, self.exit_weight, self.alignment = inner, exit_weight, alignment

    def __call__(self, batch: EmbeddedBatch) -> Tensor:
        if not batch.exits:
            raise InputError("two_dimensional needs exits: name layers in the recipe's `exit_layers`")
        last = batch.embeddings.detach()
        loss = self.inner(replace(batch, exits={}))
        for vectors in batch.exits.values():
            apart = (1 - cosine_similarity(vectors, last, dim=1)).mean()
            term = self.inner(replace(batch, embeddings=vectors, exits={})) + self.alignment * apart
            loss = loss + self.exit_weight / len(batch.exits) * term
        return loss
