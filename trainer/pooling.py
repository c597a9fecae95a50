"""Pooling in PyTorch: what the server's src/pooling must equal.

Anchor-token-aware (ATA) pooling follows arXiv 2509.00842; the exponent gamma is ours (gamma 1 is the paper's reading,
gamma 0 is mean pooling):

    r_j = sum over heads h and non-padding query positions i of A[h, i, j]      (0 where j is padding)
    w_j = r_j^gamma / sum_k r_k^gamma                    e = normalize(sum_j w_j * H_j)
"""

import torch
from torch import Tensor


def received_attention(attentions: Tensor, attention_mask: Tensor) -> Tensor:
    """r above: attentions [batch, heads, tokens, tokens] and mask [batch, tokens] of 0 and 1 -> [batch, tokens]."""
    mask = attention_mask.to(attentions.dtype)
    return torch.einsum("bhij,bi->bj", attentions, mask) * mask


def anchor_token_aware(hidden_states: Tensor, received: Tensor, attention_mask: Tensor, gamma: float) -> Tensor:
    """Hidden states [batch, tokens, hidden], r [batch, tokens], mask [batch, tokens] -> [batch, hidden], not normalized."""
    weights = received.clamp(min=0).pow(gamma) * attention_mask
    weights = weights / weights.sum(dim=1, keepdim=True)
    return torch.einsum("bt,bth->bh", weights, hidden_states)


def mean(hidden_states: Tensor, attention_mask: Tensor) -> Tensor:
    """Hidden states [batch, tokens, hidden], mask [batch, tokens] -> [batch, hidden]."""
    mask = attention_mask.to(hidden_states.dtype)
    return torch.einsum("bt,bth->bh", mask, hidden_states) / mask.sum(dim=1, keepdim=True)


def cls(hidden_states: Tensor) -> Tensor:
    """The first token of right-padded rows: [batch, tokens, hidden] -> [batch, hidden]."""
    return hidden_states[:, 0]


def last_token(hidden_states: Tensor, attention_mask: Tensor) -> Tensor:
    """The last token of right-padded rows that is not padding: [batch, tokens, hidden] -> [batch, hidden]."""
    last = attention_mask.sum(dim=1) - 1
    return hidden_states[torch.arange(len(last)), last]


def normalize(vectors: Tensor) -> Tensor:
    """Rows of [batch, hidden] brought to Euclidean length 1."""
    return torch.nn.functional.normalize(vectors, dim=-1)
