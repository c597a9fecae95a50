"""BertModel's weights by PyTorch's names, read back from an ONNX graph: one that PyTorch traced, or one that our exporter wrote.

Traced (`npm run model -- import`): embeddings, layer norms and biases are there by name; a dense layer's matrix is the
initializer that is multiplied before its bias is added.

Ours (bert_graph.py, int8_plan.py): what the exporter folded in is taken out again: 1 / sqrt(head size) and the mask channel of
queries and keys, in int8 also the factors of equalized inputs, the copies of outlier neurons and the codes' steps. Equalization
folded into the values stays, for attention_output has its inverse. What int8 rounded stays rounded.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from trainer.errors import InputError
from trainer.export.bert_weights import LINEAR_PATHS

EQUALIZED = {"query": "hidden", "key": "hidden", "value": "hidden", "intermediate": "attended"}
HEAD_SIZES = {384: 32, 768: 64, 1024: 64}  # hidden size -> size of a head, of every published BERT of that width
WIDENING = 4  # neurons of the feed-forward network by hidden size, in BERT


@dataclass(frozen=True)
class GraphWeights:
    """BertModel's state without its pooler."""

    state: dict[str, torch.Tensor]
    heads: int
    head_weights: list[float] | None  # learned with the pooling and folded into received_attention


def graph_weights(path: Path) -> GraphWeights:
    """Raises InputError where the graph is neither of the two."""
    graph = onnx.load(str(path)).graph
    arrays = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    if any(name.startswith("layer0.query.weight") for name in arrays):
        state, heads = _written(arrays)
    else:
        state, heads = _traced(graph, arrays)
    if not any(name.endswith("attention.self.query.weight") for name in state) or not heads:
        raise InputError(f"{path} has no BERT layers that can be read: other encoders, and graphs quantized elsewhere, cannot be trained from")
    learned = next((array.reshape(-1).tolist() for name, array in arrays.items() if name.startswith("head_weights.")), None)
    return GraphWeights({name: torch.from_numpy(np.array(array, np.float32)) for name, array in state.items()}, heads, learned)


def _traced(graph: onnx.GraphProto, arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int]:
    products = {node.output[0]: node.input[1] for node in graph.node if node.op_type == "MatMul" and node.input[1] in arrays}
    state = {name: array for name, array in arrays.items() if name.startswith(("embeddings.", "encoder.")) and array.dtype == np.float32}
    for node in graph.node:
        bias = next((name for name in node.input if name.endswith(".bias") and name in arrays), None)
        product = next((products[name] for name in node.input if name in products), None)
        if node.op_type == "Add" and bias and product:
            state[bias.removesuffix("bias") + "weight"] = arrays[product].T
    hidden = state["embeddings.word_embeddings.weight"].shape[1] if "embeddings.word_embeddings.weight" in state else 0
    return state, hidden // HEAD_SIZES[hidden] if hidden in HEAD_SIZES else 0


def _written(numbered: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int]:
    """Names are labels with a number behind, in the order in which the exporter needed them."""
    arrays: dict[str, list[np.ndarray]] = {}
    for name, array in numbered.items():
        arrays.setdefault(re.sub(r"\.\d+$", "", name), []).append(array)
    words = arrays["words"][0] * arrays["word_steps"][0] if "word_steps" in arrays else arrays["words"][0]
    hidden = words.shape[1]
    heads = arrays["mask_channels"][0].size - hidden
    state = {"embeddings.word_embeddings.weight": words, "embeddings.position_embeddings.weight": arrays["positions"][0],
             "embeddings.token_type_embeddings.weight": arrays["token_types"][0]}
    layers = sum(name.endswith(".query.weight") for name in arrays)
    norms = ["embeddings.LayerNorm", *(f"encoder.layer.{i}.{part}.LayerNorm" for i in range(layers) for part in ("attention.output", "output"))]
    if len(norms) != len(arrays["norm.scale"]):
        raise InputError("a graph with exits cannot be read back; export the model without them, or name its PyTorch folder as the base")
    for norm, scale, bias in zip(norms, arrays["norm.scale"], arrays["norm.bias"], strict=True):
        state |= {f"{norm}.weight": scale, f"{norm}.bias": bias}
    for i in range(layers):
        for name, path in LINEAR_PATHS.items():
            weight, bias = _linear(arrays, f"layer{i}", name, hidden, heads)
            state |= {f"encoder.layer.{i}.{path}.weight": weight.T, f"encoder.layer.{i}.{path}.bias": bias}
    return state, heads


def _linear(arrays: dict[str, list[np.ndarray]], layer: str, name: str, hidden: int, heads: int) -> tuple[np.ndarray, np.ndarray]:
    """One linear layer as BertModel has it: weight [inputs, outputs] and bias."""
    weight, bias = arrays[f"{layer}.{name}.weight"][0], arrays[f"{layer}.{name}.bias"][0]
    if steps := arrays.get(f"{layer}.{name}.steps"):
        weight = weight * steps[0]
        if factors := arrays.get(f"{layer}.{EQUALIZED.get(name)}.factors"):
            weight = weight * factors[0][:, None]
    if name in ("query", "key"):
        size = hidden // heads
        factor = np.float32(np.sqrt(size)) if name == "query" else np.float32(1)
        weight = weight.reshape(hidden, heads, size + 1)[:, :, :size].reshape(hidden, hidden) * factor
        bias = bias.reshape(heads, size + 1)[:, :size].reshape(-1) * factor
    if name == "intermediate":
        weight, bias = weight[:, : WIDENING * hidden], bias[: WIDENING * hidden]
    return (weight[: WIDENING * hidden] if name == "output" else weight), bias
