"""Writes an ONNX graph node by node; tensors are known by their names."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 21
# The newest file format that ONNX Runtime 1.20 and later read with this opset.
IR_VERSION = 10
# ONNX Runtime's own operators, part of every build of it.
CONTRIB = "com.microsoft"
# Smaller constants are not looked for among those that are there already.
SHARED_BYTES_MIN = 4096


class GraphBuilder:
    """An ONNX graph under construction."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._large: dict[tuple[str, bytes], str] = {}
        self._appended = 0
        # A number for each subgraph under construction; what is computed in one is not seen outside of it.
        self.scope = 0

    def constant(self, value: np.ndarray | np.generic, label: str) -> str:
        """Store a constant tensor, a large one once; returns its name, made of `label`."""
        array = np.asarray(value)
        if array.nbytes < SHARED_BYTES_MIN:
            return self._store(value, label)
        key = (label, array.tobytes())
        if key not in self._large:
            self._large[key] = self._store(value, label)
        return self._large[key]

    def _store(self, value: np.ndarray | np.generic, label: str) -> str:
        name = f"{label}.{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name))
        return name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append a node of the standard operator set; returns its output's name."""
        return self._append(operator, "", inputs, output, attributes)

    def add_contrib(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append a node of ONNX Runtime's own operators; an input "" is left out."""
        return self._append(operator, CONTRIB, inputs, output, attributes)

    def choose(self, condition: str, then: Callable[[], list[str]], otherwise: Callable[[], list[str]], outputs: list[str] | None = None) -> list[str]:
        """Append an If over float tensors: each function adds nodes, to its branch, and returns the names of what it gives."""
        branches = [self._branch(name, make) for name, make in (("then", then), ("else", otherwise))]
        names = outputs or [f"If_{self._appended}.{i}" for i in range(len(branches[0].output))]
        self._appended += 1
        self._nodes.append(helper.make_node("If", [condition], names, name=names[0], then_branch=branches[0], else_branch=branches[1]))
        return names

    def _branch(self, name: str, make: Callable[[], list[str]]) -> onnx.GraphProto:
        outside, scope, self._nodes = self._nodes, self.scope, []
        self.scope = self._appended = self._appended + 1
        given = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in make()]
        branch = helper.make_graph(self._nodes, f"{name}_{self.scope}", [], given)
        self._nodes, self.scope = outside, scope
        return branch

    def model(self, inputs: list[str], outputs: dict[str, list[str | int]], scalars: list[str] | None = None) -> onnx.ModelProto:
        """The finished model: int64 `inputs` [batch, tokens] and `scalars` [1], and float `outputs` with their axes."""
        graph = helper.make_graph(
            self._nodes, "encoder",
            [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in inputs]
            + [helper.make_tensor_value_info(name, TensorProto.INT64, [1]) for name in scalars or []],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name, axes in outputs.items()],
            self._constants,
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="anchorage-trainer")

    def _append(self, operator: str, domain: str, inputs: tuple[str, ...], output: str, attributes: dict[str, Any]) -> str:
        name = output or f"{operator}_{self._appended}"
        self._appended += 1
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=name, domain=domain, **attributes))
        return name
