"""Multi-layer trainable pooling ("Pooling and Attention", arXiv 2409.02727): a trained query reads every layer, not the last alone.

    h_l = mean over tokens of layer l's hidden states + p_l            p_l: a trained vector a layer
    e   = h_last + softmax(q K^T / sqrt(d)) V W_o                      K, V: projections of [h_1 ... h_L]; q: a trained query

The residual to the last layer is ours: with W_o starting at zero, training begins at plain mean pooling. The paper pools each
layer by its last token for causal bases and by the mean for bidirectional ones; here every base is bidirectional.
"""

from typing import Any

import torch
from torch import Tensor, nn

from .saved_pooling import SavedPooling


class MultiLayerPooling(SavedPooling):
    """`all_layer_embeddings` (L + 1 tensors [batch, tokens, dimensions]) and `attention_mask` -> `sentence_embedding`.

    The base must be asked for its hidden states (`output_hidden_states` in its config).
    """

    config_keys = ["embedding_dimension", "layers", "heads"]

    def __init__(self, embedding_dimension: int, layers: int, heads: int = 8) -> None:
        super().__init__()
        if embedding_dimension % heads:
            raise ValueError(f"heads {heads} must divide the {embedding_dimension} dimensions")
        self.embedding_dimension, self.layers, self.heads = embedding_dimension, layers, heads
        self.layer_vectors = nn.Parameter(torch.zeros(layers, embedding_dimension))
        self.query = nn.Parameter(torch.randn(embedding_dimension) * embedding_dimension**-0.5)
        self.norm = nn.LayerNorm(embedding_dimension)
        self.key = nn.Linear(embedding_dimension, embedding_dimension, bias=False)
        self.value = nn.Linear(embedding_dimension, embedding_dimension, bias=False)
        self.output = nn.Linear(embedding_dimension, embedding_dimension, bias=False)
        nn.init.zeros_(self.output.weight)

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        # The first entry is the embedding layer's output, which the paper leaves out.
        hidden = features["all_layer_embeddings"][1:]
        mask = features["attention_mask"].to(hidden[-1].dtype)
        mask = mask / mask.sum(dim=1, keepdim=True)
        means = torch.stack([torch.einsum("bt,btd->bd", mask, layer) for layer in hidden], dim=1)
        features["sentence_embedding"] = means[:, -1] + self.output(self._read(self.norm(means + self.layer_vectors)))
        return features

    def _read(self, layers: Tensor) -> Tensor:
        """[batch, layers, dimensions] -> [batch, dimensions], one head beside the other."""
        batch, count, dimensions = layers.shape
        query = self.query.view(1, self.heads, 1, -1).expand(batch, -1, -1, -1)
        key = self.key(layers).view(batch, count, self.heads, -1).transpose(1, 2)
        value = self.value(layers).view(batch, count, self.heads, -1).transpose(1, 2)
        return nn.functional.scaled_dot_product_attention(query, key, value).reshape(batch, dimensions)
