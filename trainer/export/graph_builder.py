"""Writes an ONNX graph node by node; tensors are known by their names."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 21
# The newest file format that ONNX Runtime 1.20 and later read with this opset.
IR_VERSION = 10
# ONNX Runtime's own operators, part of every build of it.
CONTRIB = "com.microsoft"


class GraphBuilder:
    """An ONNX graph under construction."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, value: np.ndarray | np.generic, label: str) -> str:
        """Store a constant tensor; returns its name, made of `label`."""
        name = f"{label}.{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name))
        return name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append a node of the standard operator set; returns its output's name."""
        return self._append(operator, "", inputs, output, attributes)

    def add_contrib(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append a node of ONNX Runtime's own operators; an input "" is left out."""
        return self._append(operator, CONTRIB, inputs, output, attributes)

    def model(self, inputs: list[str], outputs: dict[str, list[str | int]]) -> onnx.ModelProto:
        """The finished model: int64 `inputs` [batch, tokens] and float `outputs` with their axes."""
        graph = helper.make_graph(
            self._nodes, "encoder",
            [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in inputs],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name, axes in outputs.items()],
            self._constants,
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="anchorage-trainer")

    def _append(self, operator: str, domain: str, inputs: tuple[str, ...], output: str, attributes: dict[str, Any]) -> str:
        name = output or f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=name, domain=domain, **attributes))
        return name
