"""The weights of a BERT encoder, arranged for the graph of bert_graph.py.

Two things are folded in here, both exact: the attention's 1/sqrt(head size) into the queries, and one more channel a head
of queries and keys that carries the padding mask (see bert_graph.py).
"""

from dataclasses import dataclass

import numpy as np

from trainer.encoder import Encoder
from trainer.export.learned_pooling import learned_head_weights

# The linear layers of one block, in the order in which they run, and where BertModel has them below a layer.
LINEAR_PATHS = {"query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value",
                "attention_output": "attention.output.dense", "intermediate": "intermediate.dense", "output": "output.dense"}


@dataclass(frozen=True)
class Linear:
    """y = x @ weight + bias, with weight [inputs, outputs] and bias [outputs]."""

    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Norm:
    """Layer normalization's scale and bias [hidden]."""

    scale: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Block:
    """One transformer layer."""

    linears: dict[str, Linear]
    attention_norm: Norm
    output_norm: Norm


@dataclass(frozen=True)
class BertWeights:
    """A whole encoder; tables are [rows, hidden]."""

    words: np.ndarray
    positions: np.ndarray
    token_types: np.ndarray
    embedding_norm: Norm
    blocks: list[Block]
    heads: int
    epsilon: float
    input_names: list[str]
    head_weights: np.ndarray | None  # [heads] learned with the pooling, or None for heads alike


def is_plain_bert(encoder: Encoder) -> bool:
    """Whether the encoder is BERT as published: learned absolute positions, GELU, bidirectional, post-normalization."""
    config = encoder.config
    return (
        config["model_type"] == "bert"
        and config.get("hidden_act") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
    )


def bert_weights(encoder: Encoder) -> BertWeights:
    """Read the weights of an encoder for which `is_plain_bert` holds."""
    tensors = {name: tensor.detach().numpy() for name, tensor in encoder.model.state_dict().items()}

    def norm(prefix: str) -> Norm:
        return Norm(tensors[f"{prefix}.weight"], tensors[f"{prefix}.bias"])

    def block(prefix: str) -> Block:
        linears = {
            name: Linear(tensors[f"{prefix}.{path}.weight"].T.copy(), tensors[f"{prefix}.{path}.bias"])
            for name, path in LINEAR_PATHS.items()
        }
        head_size = encoder.dimensions // encoder.heads
        root = np.float32(np.sqrt(head_size))
        query = Linear(linears["query"].weight / root, linears["query"].bias / root)
        linears["query"] = _with_mask_channel(query, encoder.heads, 1.0)
        linears["key"] = _with_mask_channel(linears["key"], encoder.heads, 0.0)
        return Block(linears, norm(f"{prefix}.attention.output.LayerNorm"), norm(f"{prefix}.output.LayerNorm"))

    return BertWeights(
        words=tensors["embeddings.word_embeddings.weight"],
        positions=tensors["embeddings.position_embeddings.weight"],
        token_types=tensors["embeddings.token_type_embeddings.weight"],
        embedding_norm=norm("embeddings.LayerNorm"),
        blocks=[block(f"encoder.layer.{i}") for i in range(encoder.model.config.num_hidden_layers)],
        heads=encoder.heads,
        epsilon=float(encoder.config["layer_norm_eps"]),
        input_names=encoder.input_names,
        head_weights=learned_head_weights(encoder.folder),
    )


def _with_mask_channel(linear: Linear, heads: int, value: float) -> Linear:
    """Append to each head one output that is always `value`: [inputs, heads * d] -> [inputs, heads * (d + 1)]."""
    weight = linear.weight.reshape(len(linear.weight), heads, -1)
    bias = linear.bias.reshape(heads, -1)
    weight = np.concatenate([weight, np.zeros_like(weight[:, :, :1])], axis=2)
    bias = np.concatenate([bias, np.full_like(bias[:, :1], value)], axis=1)
    return Linear(weight.reshape(len(weight), -1), bias.reshape(-1))
