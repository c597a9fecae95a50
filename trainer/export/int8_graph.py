"""The arithmetic of a static int8 plan: uint8 values times int8 weights, summed in int32, out in float32."""

from collections.abc import Sequence

import numpy as np
import onnx

from trainer.encoder import Encoder
from trainer.export.bert_graph import build_bert_graph
from trainer.export.bert_weights import BertWeights, bert_weights
from trainer.export.calibration import observe
from trainer.export.graph_builder import GraphBuilder
from trainer.export.int8_plan import BlockPlan, plan_block
from trainer.export.int8_rounding import Scale

FLOAT = onnx.TensorProto.FLOAT
SITES = {"query": "hidden", "key": "hidden", "value": "hidden", "attention_output": "context",
         "intermediate": "attended", "output": "widened"}


class StaticInt8:
    """Arithmetic with one fixed scale a tensor, so that no text's codes depend on its batch."""

    def __init__(self, weights: BertWeights, plans: list[BlockPlan]) -> None:
        self.weights = weights
        self.plans = plans
        self._rounded: dict[tuple[int, int, str], tuple[str, str, str]] = {}

    def look_up_words(self, graph: GraphBuilder, ids: str) -> str:
        """Rows of int8 codes with a step each: half of the file is this table."""
        steps = np.abs(self.weights.words).max(axis=1, keepdims=True) / 127
        steps = np.where(steps > 0, steps, 1).astype(np.float32)
        codes = np.rint(self.weights.words / steps).astype(np.int8)
        rows = graph.add("Cast", graph.add("Gather", graph.constant(codes, "words"), ids), to=FLOAT)
        return graph.add("Mul", rows, graph.add("Gather", graph.constant(steps, "word_steps"), ids))

    def multiply(self, graph: GraphBuilder, values: str, layer: int, name: str) -> str:
        linear = self.plans[layer].linears[name]
        codes, step, zero_point = self._round(graph, values, layer, SITES[name])
        label = f"layer{layer}.{name}"
        return graph.add_contrib(
            "MatMulIntegerToFloat", codes, graph.constant(linear.codes, f"{label}.weight"), step,
            graph.constant(linear.steps, f"{label}.steps"), zero_point, "", graph.constant(linear.bias, f"{label}.bias"),
        )

    def _round(self, graph: GraphBuilder, values: str, layer: int, site: str) -> tuple[str, str, str]:
        """-> names of the uint8 codes, their step and zero point; query, key and value share them."""
        key = (graph.scope, layer, site)
        if key not in self._rounded:
            self._rounded[key] = self._rounding_nodes(graph, values, layer, site)
        return self._rounded[key]

    def _rounding_nodes(self, graph: GraphBuilder, values: str, layer: int, site: str) -> tuple[str, str, str]:
        chosen = getattr(self.plans[layer], site)
        if not isinstance(chosen, Scale):
            values = graph.add("Mul", values, graph.constant(chosen.factors, f"layer{layer}.{site}.factors"))
            chosen = chosen.scale
        step = graph.constant(chosen.step, f"layer{layer}.{site}.step")
        zero_point = graph.constant(chosen.zero_point, f"layer{layer}.{site}.zero_point")
        return graph.add("QuantizeLinear", values, step, zero_point), step, zero_point


def build_int8_graph(encoder: Encoder, texts: list[str], exits: Sequence[int] = ()) -> onnx.ModelProto:
    """The encoder in static int8, calibrated on `texts`; `exits` as in build_bert_graph."""
    weights = bert_weights(encoder)
    seen = observe(encoder, texts)
    plans = [plan_block(weights, layer, seen) for layer in range(len(weights.blocks))]
    return build_bert_graph(weights, StaticInt8(weights, plans), exits)
