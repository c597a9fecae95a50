"""The float32 graph of a model as the trainer saves it (modules.json), under the pooling it was trained with.

| pooling | outputs | manifest's pooling |
|---|---|---|
| ata | last_hidden_state, received_attention: r of trainer/pooling.py with learned head weights folded in | ata, with the learned gamma |
| mean, cls, last | the same two, heads alike | by its name |
| latent-attention, multi-layer | sentence_embedding [batch, dimensions], normalized | graph |

So a dozen learned numbers cost the server nothing, and a pooling that it does not know is served all the same. A decoder keeps
the bidirectional attention it was trained with.
"""

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor

from trainer.errors import InputError
from trainer.export.torch_graph import OPSET, OUTPUT_NAMES
from trainer.poolings.anchor_token_aware import AnchorTokenAwarePooling

STOCK_MODES = {"mean": "mean", "cls": "cls", "lasttoken": "last"}
GRAPH_OUTPUT = "sentence_embedding"
TOKEN_OUTPUTS = {"hiddenStates": OUTPUT_NAMES[0], "receivedAttention": OUTPUT_NAMES[1]}


class TokenGraph(torch.nn.Module):
    """Hidden states and received attention, its heads weighed; a gathering over all layers takes all layers' heads."""

    def __init__(self, model: SentenceTransformer, names: list[str]) -> None:
        super().__init__()
        self.base, self.names = model[0].model, names
        pooling = model[1]
        ata = isinstance(pooling, AnchorTokenAwarePooling)
        self.all_layers = ata and model[0].layers == "all"
        heads = pooling.heads if ata else self.base.config.num_attention_heads
        self.register_buffer("head_weights", torch.tensor(pooling.head_weights if ata else [1.0] * heads))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        named = dict(zip(self.names, inputs, strict=True))
        output = self.base(**named, output_attentions=True)
        attentions = torch.cat(output.attentions, dim=1) if self.all_layers else output.attentions[-1]
        mask = named["attention_mask"].to(attentions.dtype)
        by_head = torch.matmul(mask[:, None, None, :], attentions).squeeze(2)
        return output.last_hidden_state, (by_head * self.head_weights[None, :, None]).sum(dim=1) * mask


class PooledGraph(torch.nn.Module):
    """The whole model, pooling and normalization included."""

    def __init__(self, model: SentenceTransformer, names: list[str]) -> None:
        super().__init__()
        self.base, self.pooling, self.names = model[0].model, model[1], names

    def forward(self, *inputs: Tensor) -> Tensor:
        named = dict(zip(self.names, inputs, strict=True))
        output = self.base(**named, output_hidden_states=True)
        features = {"token_embeddings": output.last_hidden_state, "all_layer_embeddings": output.hidden_states,
                    "attention_mask": named["attention_mask"]}
        return torch.nn.functional.normalize(self.pooling(features)["sentence_embedding"], dim=-1)


def pooling_entry(model: SentenceTransformer) -> dict[str, Any]:
    """The manifest's `pooling` for the model's own."""
    pooling = model[1]
    if isinstance(pooling, AnchorTokenAwarePooling):
        return {"mode": "ata", "gamma": round(pooling.gamma, 6)}
    if isinstance(pooling, Pooling):
        if pooling.pooling_mode not in STOCK_MODES:
            raise InputError(f"pooling {pooling.pooling_mode!r} cannot be served; there are mean, cls and lasttoken")
        return {"mode": STOCK_MODES[pooling.pooling_mode]}
    return {"mode": "graph"}


def input_names(model: SentenceTransformer) -> list[str]:
    """The graph's inputs in their order."""
    names = ["input_ids", "attention_mask"]
    return names + ["token_type_ids"] if getattr(model[0].model.config, "type_vocab_size", 0) > 1 else names


def export_trained_graph(model: SentenceTransformer, path: Path) -> dict[str, str]:
    """Write the graph to `path`, both axes of every input dynamic; returns the manifest's `outputs`."""
    names = input_names(model)
    pooled = pooling_entry(model)["mode"] == "graph"
    model[0].model.set_attn_implementation("eager")
    graph = (PooledGraph if pooled else TokenGraph)(model.eval(), names).eval()
    ids = torch.full((2, 7), 5, dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[0, 4:] = 0
    samples = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    batch = torch.export.Dim("batch", min=1)
    tokens = torch.export.Dim("tokens", min=1, max=model.max_seq_length)
    inputs = tuple(samples[name] for name in names)
    outputs = [GRAPH_OUTPUT] if pooled else OUTPUT_NAMES
    # The exporter reports its progress on standard output, which belongs to our events.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(graph, inputs, str(path), dynamo=True, opset_version=OPSET, input_names=names, output_names=outputs,
                          external_data=False, dynamic_shapes=(tuple({0: batch, 1: tokens} for _ in inputs),))
    return {"sentenceEmbedding": GRAPH_OUTPUT} if pooled else TOKEN_OUTPUTS
