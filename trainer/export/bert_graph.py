"""BERT's ONNX graph, written by hand for the kernels that ONNX Runtime runs fastest on a CPU.

Against the graph that PyTorch's exporter traces (docs/model-export.md has the figures):

- Attention is one MultiHeadAttention node a layer, without a mask: with a mask ONNX Runtime leaves its flash kernel. The
  padding mask travels in one more channel a head instead: queries hold 1 there, keys 0 or, at padding, MASKED, so that the
  dot product adds exactly 0 or exactly MASKED, and the softmax of a padded key is exactly 0.
- The last layer's attention is spelled out, because received_attention needs its probabilities.
- The residual is added by Sum, not Add: ONNX Runtime fuses Add and LayerNormalization into SkipLayerNormalization, whose
  CPU kernel took six times as long as the two apart.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import onnx

from trainer.export.bert_weights import BertWeights, Norm
from trainer.export.graph_builder import GraphBuilder

# Far below any score, and its exponential is 0 in float32.
MASKED = np.float32(-30000.0)
FLOAT = onnx.TensorProto.FLOAT
OUTPUTS = ["last_hidden_state", "received_attention"]
# The number of layers that a run computes, [1], in a graph with exits.
LAYERS_INPUT = "layers"


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


def build_bert_graph(weights: BertWeights, arithmetic: Arithmetic, exits: Sequence[int] = ()) -> onnx.ModelProto:
    """The encoder with outputs last_hidden_state [batch, tokens, hidden] and received_attention [batch, tokens].

    With `exits`, numbers of layers, the graph has one more input, layers [1]: the outputs are those of that layer where it
    is an exit, and no later layer is computed; of the last layer otherwise.
    """
    return _BertGraph(weights, arithmetic, exits).model()


class _BertGraph:
    def __init__(self, weights: BertWeights, arithmetic: Arithmetic, exits: Sequence[int]) -> None:
        self.weights, self.arithmetic, self.exits = weights, arithmetic, exits
        self.graph = GraphBuilder()

    def model(self) -> onnx.ModelProto:
        self.mask = self.graph.add("Cast", "attention_mask", to=FLOAT)
        self.key_mask = _key_mask(self.graph, self.weights, self.mask)
        self._layers_from(0, _embeddings(self.graph, self.weights, self.arithmetic), OUTPUTS)
        shapes = {OUTPUTS[0]: ["batch", "tokens", self.weights.words.shape[1]], OUTPUTS[1]: ["batch", "tokens"]}
        return self.graph.model(self.weights.input_names, shapes, [LAYERS_INPUT] if self.exits else [])

    def _layers_from(self, i: int, hidden: str, outputs: list[str]) -> list[str]:
        """Layer i and those after it -> hidden states and received attention, called `outputs` unless that is empty."""
        projected = self._project(i, hidden)
        if i == len(self.weights.blocks) - 1:
            return self._open_layer(i, hidden, projected, outputs)
        if i + 1 not in self.exits:
            return self._layers_from(i + 1, self._closed_layer(i, hidden, projected), outputs)
        here = self.graph.add("Equal", LAYERS_INPUT, self.graph.constant(np.array([i + 1], np.int64), "exit"))
        return self.graph.choose(
            here,
            lambda: self._open_layer(i, hidden, projected, []),
            lambda: self._layers_from(i + 1, self._closed_layer(i, hidden, projected), []),
            outputs,
        )

    def _project(self, i: int, hidden: str) -> tuple[str, str, str]:
        query, key, value = (self.arithmetic.multiply(self.graph, hidden, i, name) for name in ("query", "key", "value"))
        return query, self.graph.add("Add", key, self.key_mask), value

    def _closed_layer(self, i: int, hidden: str, projected: tuple[str, str, str]) -> str:
        """Layer i by the fused attention, which keeps its probabilities for itself."""
        context = self.graph.add_contrib("MultiHeadAttention", *projected, num_heads=self.weights.heads, scale=1.0)
        return self._after_attention(i, hidden, context, "")

    def _open_layer(self, i: int, hidden: str, projected: tuple[str, str, str], outputs: list[str]) -> list[str]:
        """Layer i with its attention spelled out -> hidden states and received attention."""
        states, received = outputs or ["", ""]
        context, received = _attention_with_sums(self.graph, self.weights, projected, self.mask, received)
        return [self._after_attention(i, hidden, context, states), received]

    def _after_attention(self, i: int, hidden: str, context: str, output: str) -> str:
        graph, weights, block = self.graph, self.weights, self.weights.blocks[i]
        attended = self.arithmetic.multiply(graph, context, i, "attention_output")
        attended = _add_and_normalize(graph, weights, attended, hidden, block.attention_norm)
        widened = graph.add_contrib("Gelu", self.arithmetic.multiply(graph, attended, i, "intermediate"))
        narrowed = self.arithmetic.multiply(graph, widened, i, "output")
        return _add_and_normalize(graph, weights, narrowed, attended, block.output_norm, output)


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


def _attention_with_sums(
    graph: GraphBuilder, weights: BertWeights, projected: tuple[str, str, str], mask: str, output: str,
) -> tuple[str, str]:
    """A layer's attention, spelled out -> context [batch, tokens, hidden] and received attention [batch, tokens], called `output`."""
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
    received = graph.add("Mul", graph.add("ReduceSum", sums, axes, keepdims=0), mask, output=output)
    context = graph.add("Transpose", graph.add("MatMul", probabilities, by_head(value, [0, 2, 1, 3])), perm=[0, 2, 1, 3])
    return graph.add("Reshape", context, graph.constant(np.array([0, 0, weights.words.shape[1]], np.int64), "joined")), received


def _add_and_normalize(graph: GraphBuilder, weights: BertWeights, left: str, right: str, norm: Norm, output: str = "") -> str:
    """LayerNorm(left + right), [batch, tokens, hidden]."""
    total = graph.add("Sum", left, right)
    scale, bias = graph.constant(norm.scale, "norm.scale"), graph.constant(norm.bias, "norm.bias")
    return graph.add("LayerNormalization", total, scale, bias, axis=-1, epsilon=weights.epsilon, output=output)
