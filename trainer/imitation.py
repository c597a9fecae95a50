"""Learning what a token's hidden states are in a larger model, or in several, beside the loss over embeddings.

Every token of every text says what is wrong, where similarities of whole texts say a single number a pair (TinyBERT, arXiv 1909.10351, section
3.1). A stage's imitation is of one of two, read from the same micro-batches as the student's own:

* `ImitatedBase`, where the student keeps some of its base's layers (the recipe's `keep_layers`, an initialisation as DistilBERT's, arXiv 1910.01108)
  and starts as a broken copy: the base's states behind the layer before the next kept one, for each kept layer.
* `ImitatedTeachers`, where the recipe has several teachers and the student all of its layers: the teachers' last states, as one.

    L = hidden_states / K sum over places k of |S_k - T_k|^2 / var(T_k)  +  vectors (1 - cos(e_S, e_T))

S_k are the student's states, T_k those imitated, both [tokens, dimensions]; the mean is over tokens and dimensions. e_S is the student's
embedding under its own pooling and e_T the mean of the last T. Where teachers are imitated, e_T is also their vector to the stage's loss, so that
nothing has to be asked of them but their states.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModel

from trainer import pooling
from trainer.errors import InputError

COSINE_MIN = 0.98  # of a teacher's vectors, which may come from int8, and the mean of its hidden states
FEATURES = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Imitation:
    """Weights of the two terms, beside a stage's loss."""

    hidden_states: float = 1.0
    vectors: float = 30.0


class Imitated(Protocol):
    is_teacher: bool  # whether its vectors are those that the stage's loss has for a teacher's

    def states(self, features: Mapping[str, Tensor]) -> dict[int, Tensor]:
        """T of a micro-batch, each [texts, tokens, dimensions] in float32, by the place of the student's hidden states that are to be like it: 0 is
        the embedding layer's, k that behind layer k - 1, -1 the last. The last one given is what embeddings are made of."""
        ...


def imitation_loss(imitated: Imitated, weights: Imitation, features: Mapping[str, Tensor], hidden_states: Sequence[Tensor],
                   embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """L above over one micro-batch, and e_T of length 1: of its tokens [texts, tokens], the student's hidden states [texts, tokens, dimensions], that of
    its embedding layer first, and its embeddings [texts, dimensions] of length 1. Rows of `features` beyond `embeddings` are padding."""
    rows = {name: features[name][: len(embeddings)] for name in FEATURES if name in features}
    with torch.no_grad():
        theirs = imitated.states(rows)
    mask = rows["attention_mask"].unsqueeze(-1).float()
    count = mask.sum()
    total = embeddings.new_zeros(())
    # Products with the mask, for picking out tokens is slow on the way back.
    for place, wanted in theirs.items():
        own, mean = hidden_states[place][: len(mask)].float(), (wanted * mask).sum(dim=(0, 1)) / count
        total = total + ((own - wanted).square() * mask).sum() / ((wanted - mean).square() * mask).sum()
    vectors = torch.nn.functional.normalize(pooling.mean(wanted, rows["attention_mask"]))
    apart = 1 - torch.nn.functional.cosine_similarity(embeddings.float(), vectors).mean()
    return weights.hidden_states * total / len(theirs) + weights.vectors * apart, vectors


class ImitatedBase:
    """A base with all its layers, frozen, that a model with `kept` of them follows. Both are as wide, so nothing has to be projected."""

    is_teacher = False  # the recipe's is another

    def __init__(self, base: Path, kept: Sequence[int], bf16: bool, device: torch.device) -> None:
        self.model = _frozen(base, bf16, device)
        self.places = [*kept[1:], self.model.config.num_hidden_layers]

    def states(self, features: Mapping[str, Tensor]) -> dict[int, Tensor]:
        theirs = self.model(**features, output_hidden_states=True).hidden_states
        return {own + 1: theirs[place].float() for own, place in enumerate(self.places)}


class ImitatedTeachers:
    """Several encoders that read the same tokens, as one of the student's width.

    Where all are pooled by mean, the vector of several teachers (trainer/teachers.py) is the mean over tokens of

        t_i = [sqrt(a_1) (h_1i / |p_1| - m_1) / |p_1 / |p_1| - m_1|, sqrt(a_2) ..., ...]

    with h_k teacher k's last hidden states [tokens, dimensions], p_k their mean, m_k and a_k the teacher's mean vector and share. What the student is to
    be like is c t_i R: R [teachers' dimensions, dimensions] takes the directions in which the vectors of a sample are largest, which keeps their cosines
    nearly, and turns them (orthogonal Procrustes) to where the untrained student's own vectors of the sample lie, whose mean length is c. So the
    student starts near, and cosines are those of the teachers.
    """

    is_teacher = True
    place = -1  # the student's last

    def __init__(self, encoders: Sequence[Path], means: Sequence[np.ndarray], shares: Sequence[float], bf16: bool, device: torch.device) -> None:
        self.models = [_frozen(folder, bf16, device) for folder in encoders]
        self.means, self.shares = [torch.from_numpy(mean).to(device) for mean in means], [float(share) for share in shares]
        self.rotation: Tensor | None = None  # c R, once it is known

    def check(self, features: Mapping[str, Tensor], vectors: Tensor) -> None:
        """Raise InputError where a teacher's vectors [texts, teachers' dimensions] are not the mean of its hidden states over the student's tokens."""
        start = 0
        for model, mean, share, part in zip(self.models, self.means, self.shares, self._parts(features), strict=True):
            theirs = vectors[:, start : start + len(mean)]
            start += len(mean)
            if not share:
                continue
            cosine = float(torch.nn.functional.cosine_similarity(pooling.mean(part, features["attention_mask"]), theirs).mean())
            if cosine < COSINE_MIN:
                raise InputError(f"teacher {model.name_or_path} cannot be imitated token by token: the mean of its hidden states over the student's tokens is not its "
                                 f"vector (cosine {cosine:.3f}, not {COSINE_MIN}). Teachers for this are pooled by mean, take no prompts and share the student's tokenizer")

    def rotation_of(self, vectors: Tensor, own: Tensor) -> Tensor:
        """c R from a sample's vectors by the teachers [texts, their dimensions] and the student's, [texts, dimensions] and not normalized."""
        directions = largest_directions(vectors, own.shape[1])
        left, _, right = torch.linalg.svd((vectors @ directions).T @ torch.nn.functional.normalize(own), full_matrices=False)
        return directions @ left @ right * own.norm(dim=1).mean()

    def states(self, features: Mapping[str, Tensor]) -> dict[int, Tensor]:
        return {self.place: torch.cat(self._parts(features), dim=-1) @ self.rotation}

    def _parts(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        """Of t, each teacher's [texts, tokens, dimensions]."""
        parts = []
        for model, mean, share in zip(self.models, self.means, self.shares, strict=True):
            tokens = model(**features).last_hidden_state.float()
            length = pooling.mean(tokens, features["attention_mask"]).norm(dim=1)[:, None, None]
            apart = tokens / length - mean
            parts.append(apart * (share ** 0.5 / pooling.mean(apart, features["attention_mask"]).norm(dim=1)[:, None, None]))
        return parts


def largest_directions(vectors: Tensor, count: int) -> Tensor:
    """[dimensions, count]: orthogonal directions in which the rows of `vectors` are largest, by rising size."""
    return torch.linalg.eigh(vectors.T @ vectors)[1][:, -count:]


def _frozen(folder: Path, bf16: bool, device: torch.device) -> torch.nn.Module:
    # Eager attention: for short texts on a CPU, plain products are as fast as a fused kernel.
    return AutoModel.from_pretrained(folder, attn_implementation="eager", dtype=torch.bfloat16 if bf16 else torch.float32,
                                     local_files_only=True).eval().requires_grad_(False).to(device)
