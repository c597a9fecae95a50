"""Anchor-token-aware (ATA) pooling for sentence-transformers. A saved model carries this file and saved_pooling.py, and needs no other.

After arXiv 2509.00842; the exponent gamma and the head weights a_h are ours (gamma 1 and all a_h 1 are our reading of the
paper, gamma 0 is mean pooling):

    R_hj = sum over query positions i that are not padding, of A[h, i, j]        A: softmax attention of the last layer
    r_j  = sum over heads h of a_h R_hj
    w_j  = r_j^gamma / sum_k r_k^gamma        e = sum_j w_j H_j                  H: last-layer hidden states

Every layer runs PyTorch's fused attention. R needs column sums of A, which fused kernels do not give, so it is computed a
second time from queries and keys, in blocks of query rows, and again in the backward pass: [batch, heads, tokens, tokens]
is never held for more than one block.
"""

from typing import Any

import torch
from sentence_transformers.base.modules import Transformer
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from .saved_pooling import SavedPooling

# Scores held at once, over batch, heads, rows and tokens: 16 MiB of float32, which stays in a CPU's last-level cache.
BLOCK_SCORES_MAX = 4 * 1024 * 1024
# Texts of up to so many tokens are trained with plain products on a CPU (see plain_attention).
PLAIN_TOKENS_MAX = 256


class ReceivedAttention(torch.autograd.Function):
    """R [batch, heads, tokens] from queries and keys [batch, heads, tokens, head size]; one block of rows at a time."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, allowed: Tensor | None, query_mask: Tensor, scaling: float) -> Tensor:
        """`allowed` is a boolean mask [batch or 1, 1, tokens or 1, tokens] (None: all); `query_mask` [batch, tokens] of 0 and 1."""
        ctx.save_for_backward(query, key, allowed, query_mask)
        ctx.scaling = scaling
        received = query.new_zeros(query.shape[0], query.shape[1], key.shape[2], dtype=_accumulator(query))
        for rows in _row_blocks(query):
            received += torch.matmul(_row_mask(query_mask, rows), _probabilities(query, key, allowed, rows, scaling)).squeeze(2)
        return received

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """With g = dL/dR and m the query mask: dL/dS_ij = m_i A_ij (g_j - sum_k A_ik g_k), S the scaled scores."""
        query, key, allowed, query_mask = ctx.saved_tensors
        query_gradient = torch.empty_like(query)
        key_gradient = torch.zeros_like(key, dtype=_accumulator(key))
        for rows in _row_blocks(query):
            probabilities = _probabilities(query, key, allowed, rows, ctx.scaling)
            row_mean = torch.matmul(probabilities, gradient.unsqueeze(-1))
            scores_gradient = probabilities * (gradient.unsqueeze(2) - row_mean)
            scores_gradient = (scores_gradient * _row_mask(query_mask, rows).transpose(2, 3) * ctx.scaling).to(query.dtype)
            query_gradient[:, :, rows] = torch.matmul(scores_gradient, key)
            key_gradient += torch.matmul(scores_gradient.transpose(2, 3), query[:, :, rows])
        return query_gradient, key_gradient.to(key.dtype), None, None, None


class ReceivedAttentionCollector:
    """Travels through the encoder's keyword arguments to its attention layers and gathers R from those it wants."""

    def __init__(self, attention_mask: Tensor, layers: str, exits: tuple[int, ...] = ()) -> None:
        self.attention_mask = attention_mask
        self.layers = layers
        self.exits = exits
        self.by_layer: dict[int, Tensor] = {}

    def wants(self, layer: int, layer_count: int) -> bool:
        return layer in self.exits or self.layers == "all" or self.layers == "last" and layer == layer_count - 1

    def received(self) -> Tensor:
        """[batch, heads, tokens], or [batch, layers x heads, tokens] where all layers are gathered."""
        last = max(self.by_layer)
        return torch.cat([self.by_layer[layer] for layer in sorted(self.by_layer)], dim=1) if self.layers == "all" else self.by_layer[last]


def attention_that_collects(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    received_attention: ReceivedAttentionCollector | None = None, scaling: float | None = None, **options: Any,
) -> tuple[Tensor, None]:
    """transformers' SDPA; hands queries and keys [batch, heads, tokens, head size] of the wanted layers to the collector."""
    config = module.config
    if not getattr(config, "is_causal", True):
        # A decoder made bidirectional: its mask says so, but the kernel would follow the layer's own flag where there is no mask.
        options["is_causal"] = False
    layer = getattr(module, "layer_idx", None)
    is_causal = options.get("is_causal", getattr(module, "is_causal", False))
    if module.training and not is_causal and _is_plain(query, key, attention_mask):
        context, probabilities = plain_attention(query, key, value, attention_mask, scaling, options.get("dropout", 0.0))
        if received_attention is not None and received_attention.wants(layer, config.num_hidden_layers):
            rows = received_attention.attention_mask.to(probabilities.dtype)[:, None, None]
            received_attention.by_layer[layer] = torch.matmul(rows, probabilities).squeeze(2).to(_accumulator(query))
        return context.transpose(1, 2).contiguous(), None
    if received_attention is not None and received_attention.wants(layer, config.num_hidden_layers):
        groups = query.shape[1] // key.shape[1]
        allowed = _allowed(module, query, attention_mask, options.get("is_causal"))
        mask = received_attention.attention_mask.to(_accumulator(query))
        factor = query.shape[-1] ** -0.5 if scaling is None else scaling
        received_attention.by_layer[layer] = ReceivedAttention.apply(query, repeat_kv(key, groups), allowed, mask, factor)
    return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)


def plain_attention(
    query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None, scaling: float | None, dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Attention by two products and a softmax -> context [batch, heads, tokens, head size], and the probabilities before dropout,
    [batch, heads, tokens, tokens].

    For the backward pass on a CPU, where PyTorch's fused kernel took 120 ms for 32 x 128 tokens and its own plain one 38, against 20 here
    (bf16, one thread with AMX); of 16 x 256 tokens, both ways, 117 against 98. Scores are as exact as the type of their inputs.
    """
    batch, heads, tokens, size = query.shape
    query = query * (size**-0.5 if scaling is None else scaling)
    bias = query.new_zeros(batch, heads, 1, tokens)
    if allowed is not None:
        bias = bias.masked_fill(~allowed[:, :, :1], torch.finfo(torch.bfloat16).min)
    query, key, value, bias = (tensor.reshape(batch * heads, -1, tensor.shape[-1]) for tensor in (query, key, value, bias))
    probabilities = torch.baddbmm(bias, query, key.transpose(1, 2)).softmax(dim=-1)
    kept = nn.functional.dropout(probabilities, dropout) if dropout else probabilities
    return torch.bmm(kept, value).view(batch, heads, tokens, size), probabilities.view(batch, heads, tokens, tokens)


def _is_plain(query: Tensor, key: Tensor, allowed: Tensor | None) -> bool:
    """Short texts on a CPU, where every query of a text may look at the same keys."""
    return (query.device.type == "cpu" and query.shape[2] <= PLAIN_TOKENS_MAX and query.shape == key.shape
            and (allowed is None or allowed.dtype == torch.bool)
            and (allowed is None or allowed.shape[2] == 1 or bool((allowed == allowed[:, :, :1]).all())))


AttentionInterface.register("sdpa_received", attention_that_collects)
AttentionMaskInterface.register("sdpa_received", sdpa_mask)


class ReceivedAttentionTransformer(Transformer):
    """sentence-transformers' Transformer that also returns `received_attention` R, for AnchorTokenAwarePooling.

    `layers` is "last" (the paper's reading), "all", whose heads follow one another from the first layer to the last, or "none",
    which leaves a base with nothing but the bidirectional attention that a decoder needs under every pooling.
    """

    config_keys = [*Transformer.config_keys, "layers"]

    def __init__(self, model_name_or_path: str, layers: str = "last", **options: Any) -> None:
        super().__init__(model_name_or_path, **options)
        if layers not in ("last", "all", "none"):
            raise ValueError(f"layers must be 'last', 'all' or 'none', not {layers!r}")
        if not self.model._supports_attention_backend:
            raise ValueError(f"{type(self.model).__name__} computes its attention by itself; ATA needs a model whose attention "
                             "can be chosen (BERT, RoBERTa, XLM-R, ModernBERT, Mistral, Qwen and others)")
        self.layers = layers
        self.exits: tuple[int, ...] = ()  # numbers of further layers, from 0, whose R training asks for
        self.model.set_attn_implementation("sdpa_received")

    def forward(self, features: dict[str, Any], **options: Any) -> dict[str, Any]:
        collector = ReceivedAttentionCollector(features["attention_mask"], self.layers, self.exits)
        features = super().forward(features, received_attention=collector, **options)
        if self.layers != "none":
            features["received_attention"] = collector.received()
            features["exit_received_attention"] = {layer: collector.by_layer[layer] for layer in self.exits}
        return features


class AnchorTokenAwarePooling(SavedPooling):
    """`token_embeddings`, `attention_mask` and `received_attention` R [batch, heads, tokens] -> `sentence_embedding`."""

    config_keys = ["embedding_dimension", "heads", "gamma", "head_weights", "learn_gamma", "learn_head_weights"]

    def __init__(
        self, embedding_dimension: int, heads: int, gamma: float = 1.0, head_weights: list[float] | None = None,
        learn_gamma: bool = False, learn_head_weights: bool = False,
    ) -> None:
        """`gamma` >= 0; `head_weights` are positive with mean 1 (None: all 1). Learned values start from the given ones."""
        super().__init__()
        if not 0 <= gamma <= 8:
            raise ValueError(f"gamma {gamma} must be between 0 and 8")
        if learn_gamma and gamma == 0:
            raise ValueError("a learned gamma cannot start at 0, where softplus has no slope: start at 0.1 or more")
        self.embedding_dimension, self.heads = embedding_dimension, heads
        self.learn_gamma, self.learn_head_weights = learn_gamma, learn_head_weights
        weights = torch.tensor(head_weights or [1.0] * heads)
        if weights.shape != (heads,) or not bool((weights > 0).all()):
            raise ValueError(f"head_weights must be {heads} positive numbers, one a head, not {head_weights}")
        # softplus keeps gamma positive, softmax keeps the weights positive with mean 1: no constraint for the optimizer.
        self.gamma_logit = nn.Parameter(torch.tensor(float(gamma)).expm1().log(), requires_grad=learn_gamma)
        self.head_logits = nn.Parameter(weights.log(), requires_grad=learn_head_weights)

    @property
    def gamma(self) -> float:
        return float(nn.functional.softplus(self.gamma_logit.detach().double()))

    @property
    def head_weights(self) -> list[float]:
        return (self.heads * self.head_logits.detach().double().softmax(0)).tolist()

    def weights(self, received: Tensor, attention_mask: Tensor) -> Tensor:
        """w [batch, tokens] from R [batch, heads, tokens] and a mask of 0 and 1, in R's precision; rows sum to 1."""
        head_weights = self.heads * self.head_logits.to(received.dtype).softmax(0)
        total = torch.einsum("bht,h->bt", received, head_weights)
        powers = nn.functional.softplus(self.gamma_logit.to(received.dtype)) * total.clamp_min(torch.finfo(total.dtype).tiny).log()
        return powers.masked_fill(attention_mask == 0, -torch.inf).softmax(dim=1)

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        tokens = features["token_embeddings"]
        weights = self.weights(features["received_attention"], features["attention_mask"]).to(tokens.dtype)
        features["sentence_embedding"] = torch.einsum("bt,btd->bd", weights, tokens)
        return features


def _probabilities(query: Tensor, key: Tensor, allowed: Tensor | None, rows: slice, scaling: float) -> Tensor:
    """A [batch, heads, rows, tokens] of some query rows, in float32 at least."""
    scores = torch.matmul(query[:, :, rows], key.transpose(2, 3)).to(_accumulator(query)) * scaling
    if allowed is not None:
        visible = allowed if allowed.shape[2] == 1 else allowed[:, :, rows]
        # The lowest finite number, not -inf: a padded query of a left-padded causal row may see no key at all.
        scores = scores.masked_fill(~visible, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1)


def _row_blocks(query: Tensor) -> list[slice]:
    batch, heads, tokens, _ = query.shape
    size = max(1, BLOCK_SCORES_MAX // (batch * heads * tokens))
    return [slice(start, min(start + size, tokens)) for start in range(0, tokens, size)]


def _row_mask(query_mask: Tensor, rows: slice) -> Tensor:
    """[batch, 1, 1, rows]"""
    return query_mask[:, None, None, rows]


def _accumulator(tensor: Tensor) -> torch.dtype:
    """float64 for float64 (gradient checks), else float32."""
    return torch.promote_types(tensor.dtype, torch.float32)


def _allowed(module: nn.Module, query: Tensor, mask: Tensor | None, is_causal: bool | None) -> Tensor | None:
    """What the fused kernel lets each row see, as a boolean mask: the given one, or the causal one it would apply unasked."""
    if mask is not None:
        return mask if mask.dtype == torch.bool else mask == 0
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if not causal:
        return None
    tokens = query.shape[2]
    return torch.ones(tokens, tokens, dtype=torch.bool, device=query.device).tril()[None, None]
