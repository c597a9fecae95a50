"""Running an exported graph in ONNX Runtime, as the server will: all graph optimizations, padded rows, CPU."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from trainer import pooling


class EncoderSession:
    """An ONNX encoder with outputs last_hidden_state [batch, tokens, hidden] and received_attention [batch, tokens]."""

    def __init__(self, graph: Path, threads: int = 0, pad_token_id: int = 0, layers: int = 0) -> None:
        """`threads` 0 lets ONNX Runtime choose; `layers` is the exit that a graph with exits leaves by, 0 for none of them."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self.input_names = [node.name for node in self.session.get_inputs()]
        self.pad_token_id = pad_token_id
        self.layers = layers

    def inputs(self, rows: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
        """Token id rows of any lengths -> int64 arrays [batch, longest], padded on the right."""
        longest = max(len(row) for row in rows)
        ids = np.full((len(rows), longest), self.pad_token_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids), "layers": np.array([self.layers])}
        return {name: arrays[name] for name in self.input_names}

    def run(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
        """-> hidden states [batch, tokens, hidden], received attention [batch, tokens], mask [batch, tokens]."""
        inputs = self.inputs(rows)
        hidden, received = self.session.run(["last_hidden_state", "received_attention"], inputs)
        return torch.from_numpy(hidden), torch.from_numpy(received), torch.from_numpy(inputs["attention_mask"])

    def embed(self, rows: Sequence[Sequence[int]], gamma: float) -> Tensor:
        """Normalized anchor-token-aware embeddings [batch, hidden] of token id rows."""
        hidden, received, mask = self.run(rows)
        return pooling.normalize(pooling.anchor_token_aware(hidden, received, mask, gamma))
