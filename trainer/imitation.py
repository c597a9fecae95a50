"""Learning the hidden states of the base that a smaller model was cut out of, beside the loss over its embeddings.

A student that keeps some of a base's layers (the recipe's `keep_layers`, an initialisation as DistilBERT's, arXiv 1910.01108) starts as a
broken copy of it. Every token of every text then says how to mend it (TinyBERT, arXiv 1909.10351, section 3.1; both are as wide, so
nothing has to be projected):

    L = hidden_states / K sum over kept layers k of |S_k - B_m(k)|^2 / var(B_m(k))  +  vectors (1 - cos(e_S, e_B))

S_k are the student's states behind its k-th layer, B_m(k) the base's behind the layer before the next kept one, so that a kept layer does what
those left out behind it did, too; both [tokens, dimensions], the mean over tokens and dimensions. e_S is the student's embedding under its own
pooling and e_B the mean of the base's last states. The base reads what the student reads, in the same micro-batches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModel

from trainer import pooling
from trainer.errors import InputError


@dataclass(frozen=True)
class Imitation:
    """Weights of the two terms, beside a stage's loss."""

    hidden_states: float = 1.0
    vectors: float = 30.0


class Imitated:
    """A base with all its layers, frozen, that a model with `kept` of them follows."""

    def __init__(self, base: Path, kept: Sequence[int], bf16: bool, device: torch.device) -> None:
        if not kept:
            raise InputError("a stage's imitation needs keep_layers: a model with all of its base's layers has nothing to imitate")
        dtype = torch.bfloat16 if bf16 else torch.float32
        # Eager attention: for short texts on a CPU, plain products are as fast as a fused kernel.
        self.model = AutoModel.from_pretrained(base, attn_implementation="eager", dtype=dtype, local_files_only=True).eval().requires_grad_(False).to(device)
        last = self.model.config.num_hidden_layers
        self.places = [*kept[1:], last]  # numbers of hidden states: 0 is the embedding's, k that behind layer k - 1

    def loss(self, weights: Imitation, features: Mapping[str, Tensor], hidden_states: Sequence[Tensor], embeddings: Tensor) -> Tensor:
        """L above over one micro-batch: its tokens [texts, tokens], the student's hidden states [texts, tokens, dimensions], that of its embedding
        layer first, and its embeddings [texts, dimensions] of length 1. Rows of `features` beyond `embeddings` are padding."""
        names = ("input_ids", "attention_mask", "token_type_ids")
        rows = {name: features[name][: len(embeddings)] for name in names if name in features}
        with torch.no_grad():
            theirs = self.model(**rows, output_hidden_states=True).hidden_states
        mask = rows["attention_mask"].unsqueeze(-1).float()
        count = mask.sum()
        total = embeddings.new_zeros(())
        # Products with the mask, for picking out tokens is slow on the way back.
        for own, place in zip(hidden_states[1:], self.places, strict=True):
            wanted = theirs[place].float()
            mean = (wanted * mask).sum(dim=(0, 1)) / count
            total = total + ((own[: len(mask)].float() - wanted).square() * mask).sum() / ((wanted - mean).square() * mask).sum()
        means = pooling.mean(theirs[-1].float(), rows["attention_mask"])
        apart = 1 - torch.nn.functional.cosine_similarity(embeddings.float(), means).mean()
        return weights.hidden_states * total / len(self.places) + weights.vectors * apart
