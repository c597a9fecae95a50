"""Latent-attention pooling (NV-Embed, arXiv 2405.17428): tokens read from a trained dictionary before they are averaged.

    O = softmax(Q K^T / sqrt(d)) V      Q: hidden states H; K, V: projections of the latents L [latents, dimensions]
    e = mean over tokens of (H + O W_o) + MLP(norm(H + O W_o))                   MLP: two linear layers with GELU between

The residual path is the original implementation's; with W_o and the MLP's last layer starting at zero, training begins at
plain mean pooling, so that a base that was trained with it is not destroyed by random weights.
"""

from typing import Any

import torch
from torch import Tensor, nn

from .saved_pooling import SavedPooling


class LatentAttentionPooling(SavedPooling):
    """`token_embeddings` [batch, tokens, dimensions], `attention_mask` -> `sentence_embedding` [batch, dimensions]."""

    config_keys = ["embedding_dimension", "latents", "heads", "hidden"]

    def __init__(self, embedding_dimension: int, latents: int = 512, heads: int = 8, hidden: int | None = None) -> None:
        """`latents` and `heads` are the paper's 512 and 8; `hidden` is the MLP's width (None: four times the dimensions)."""
        super().__init__()
        if embedding_dimension % heads:
            raise ValueError(f"heads {heads} must divide the {embedding_dimension} dimensions")
        self.embedding_dimension, self.latents, self.heads = embedding_dimension, latents, heads
        self.hidden = hidden or 4 * embedding_dimension
        self.dictionary = nn.Parameter(torch.randn(latents, embedding_dimension) * embedding_dimension**-0.5)
        self.query_norm = nn.LayerNorm(embedding_dimension)
        self.key = nn.Linear(embedding_dimension, embedding_dimension, bias=False)
        self.value = nn.Linear(embedding_dimension, embedding_dimension, bias=False)
        self.query = nn.Linear(embedding_dimension, embedding_dimension, bias=False)
        self.output = nn.Linear(embedding_dimension, embedding_dimension, bias=False)
        self.mlp = nn.Sequential(nn.LayerNorm(embedding_dimension), nn.Linear(embedding_dimension, self.hidden), nn.GELU(),
                                 nn.Linear(self.hidden, embedding_dimension))
        for last in (self.output, self.mlp[-1]):
            nn.init.zeros_(last.weight)
        nn.init.zeros_(self.mlp[-1].bias)

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        tokens = features["token_embeddings"]
        attended = tokens + self.output(self._read(self.query_norm(tokens)))
        attended = attended + self.mlp(attended)
        mask = features["attention_mask"].to(attended.dtype)
        features["sentence_embedding"] = torch.einsum("bt,btd->bd", mask / mask.sum(dim=1, keepdim=True), attended)
        return features

    def _read(self, tokens: Tensor) -> Tensor:
        """Each token's mixture of the dictionary's values: [batch, tokens, dimensions] -> the same."""
        batch, length, dimensions = tokens.shape
        query = self.query(tokens).view(batch, length, self.heads, -1).transpose(1, 2)
        key = self.key(self.dictionary).view(1, self.latents, self.heads, -1).transpose(1, 2).expand(batch, -1, -1, -1)
        value = self.value(self.dictionary).view(1, self.latents, self.heads, -1).transpose(1, 2).expand(batch, -1, -1, -1)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return mixed.transpose(1, 2).reshape(batch, length, dimensions)
