"""BERT's ONNX graph, written by hand for the kernels that ONNX Runtime runs fastest on a CPU.

Against the graph that PyTorch's exporter traces (docs/model-export.md has the figures):

- Attention is one MultiHeadAttention node a layer, without a mask: with a mask ONNX Runtime leaves its flash kernel. The
  padding mask travels in one more channel a head instead: queries hold 1 there, keys 0 or, at padding, MASKED, so that the
  dot product adds exactly 0 or exactly MASKED, and the softmax of a padded key is exactly 0.
- The last layer's attention is spelled out, because received_attention needs its probabilities.
- The residual is added by Sum, not Add: ONNX Runtime fuses Add and LayerNormalization into SkipLayerNormalization, whose
  CPU kernel took six times as long as the two apart.
"""

from typing import Protocol

import numpy as np
import onnx

from trainer.export.bert_weights import BertWeights, Norm
from trainer.export.graph_builder import GraphBuilder

# Far below any score, and its exponential is 0 in float32.
MASKED = np.float32(-30000.0)
FLOAT = onnx.TensorProto.FLOAT


class Arithmetic(Protocol):
    """How tables are looked up and linear layers multiplied: in float32, or in int8."""

    def look_up_words(self, graph: GraphBuilder, ids: str) -> str:
        """Ids [batch, tokens] -> word embeddings [batch, tokens, hidden]."""

    def multiply(self, graph: GraphBuilder, values: str, layer: int, name: str) -> str:
        """Values [batch, tokens, inputs] through one linear layer -> [batch, tokens, outputs]."""


class Float32:
    """Arithmetic of the weights as they are."""

    def __init__(self, weights: BertWeights) -> None:
        self.weights = weights

    def look_up_words(self, graph: GraphBuilder, ids: str) -> str:
        return graph.add("Gather", graph.constant(self.weights.words, "words"), ids)

    def multiply(self, graph: GraphBuilder, values: str, layer: int, name: str) -> str:
        linear = self.weights.blocks[layer].linears[name]
        label = f"layer{layer}.{name}"
        product = graph.add("MatMul", values, graph.constant(linear.weight, f"{label}.weight"))
        return graph.add("Add", product, graph.constant(linear.bias, f"{label}.bias"))


def build_bert_graph(weights: BertWeights, arithmetic: Arithmetic) -> onnx.ModelProto:
    """The encoder with outputs last_hidden_state [batch, tokens, hidden] and received_attention [batch, tokens]."""
    graph = GraphBuilder()
    mask = graph.add("Cast", "attention_mask", to=FLOAT)
    key_mask = _key_mask(graph, weights, mask)
    hidden = _embeddings(graph, weights, arithmetic)
    last = len(weights.blocks) - 1
    for i, block in enumerate(weights.blocks):
        query, key, value = (arithmetic.multiply(graph, hidden, i, name) for name in ("query", "key", "value"))
        key = graph.add("Add", key, key_mask)
        if i < last:
            context = graph.add_contrib("MultiHeadAttention", query, key, value, num_heads=weights.heads, scale=1.0)
        else:
            context = _attention_with_sums(graph, weights, (query, key, value), mask)
        attended = arithmetic.multiply(graph, context, i, "attention_output")
        attended = _add_and_normalize(graph, weights, attended, hidden, block.attention_norm)
        widened = graph.add_contrib("Gelu", arithmetic.multiply(graph, attended, i, "intermediate"))
        narrowed = arithmetic.multiply(graph, widened, i, "output")
        output = "last_hidden_state" if i == last else ""
        hidden = _add_and_normalize(graph, weights, narrowed, attended, block.output_norm, output)
    width = weights.words.shape[1]
    return graph.model(weights.input_names, {"last_hidden_state": ["batch", "tokens", width], "received_attention": ["batch", "tokens"]})


def _embeddings(graph: GraphBuilder, weights: BertWeights, arithmetic: Arithmetic) -> str:
    """Words, positions and token types, added and normalized: [batch, tokens, hidden]."""
    zero, one = (graph.constant(np.array([i], np.int64), "axis") for i in (0, 1))
    tokens = graph.add("Gather", graph.add("Shape", "input_ids"), one)
    positions = graph.add("Slice", graph.constant(weights.positions, "positions"), zero, tokens, zero)
    if "token_type_ids" in weights.input_names:
        types = graph.add("Gather", graph.constant(weights.token_types, "token_types"), "token_type_ids")
    else:
        types = graph.constant(weights.token_types[0], "token_type")
    words = arithmetic.look_up_words(graph, "input_ids")
    return _add_and_normalize(graph, weights, words, graph.add("Add", types, positions), weights.embedding_norm)


def _key_mask(graph: GraphBuilder, weights: BertWeights, mask: str) -> str:
    """What is added to the keys [batch, tokens, heads * (head size + 1)]: MASKED in padding's mask channels, else 0."""
    head_size = weights.words.shape[1] // weights.heads
    channels = np.zeros((weights.heads, head_size + 1), np.float32)
    channels[:, head_size] = -MASKED
    below_zero = graph.add("Sub", mask, graph.constant(np.float32(1), "one"))
    column = graph.add("Unsqueeze", below_zero, graph.constant(np.array([2], np.int64), "axis"))
    return graph.add("Mul", column, graph.constant(channels.reshape(-1), "mask_channels"))


def _attention_with_sums(graph: GraphBuilder, weights: BertWeights, projected: tuple[str, str, str], mask: str) -> str:
    """The last layer's attention -> context [batch, tokens, hidden]; also makes the output received_attention."""
    query, key, value = projected
    split = graph.constant(np.array([0, 0, weights.heads, -1], np.int64), "by_head")

    def by_head(name: str, order: list[int]) -> str:
        return graph.add("Transpose", graph.add("Reshape", name, split), perm=order)

    scores = graph.add("MatMul", by_head(query, [0, 2, 1, 3]), by_head(key, [0, 2, 3, 1]))
    probabilities = graph.add("Softmax", scores, axis=-1)
    # [batch, 1, 1, tokens] x [batch, heads, tokens, tokens]: the sum over query positions that are not padding.
    axes = graph.constant(np.array([1, 2], np.int64), "axes")
    sums = graph.add("MatMul", graph.add("Unsqueeze", mask, axes), probabilities)
    if weights.head_weights is not None:
        sums = graph.add("Mul", sums, graph.constant(weights.head_weights.reshape(1, -1, 1, 1), "head_weights"))
    graph.add("Mul", graph.add("ReduceSum", sums, axes, keepdims=0), mask, output="received_attention")
    context = graph.add("Transpose", graph.add("MatMul", probabilities, by_head(value, [0, 2, 1, 3])), perm=[0, 2, 1, 3])
    return graph.add("Reshape", context, graph.constant(np.array([0, 0, weights.words.shape[1]], np.int64), "joined"))


def _add_and_normalize(graph: GraphBuilder, weights: BertWeights, left: str, right: str, norm: Norm, output: str = "") -> str:
    """LayerNorm(left + right), [batch, tokens, hidden]."""
    total = graph.add("Sum", left, right)
    scale, bias = graph.constant(norm.scale, "norm.scale"), graph.constant(norm.bias, "norm.bias")
    return graph.add("LayerNormalization", total, scale, bias, axis=-1, epsilon=weights.epsilon, output=output)
