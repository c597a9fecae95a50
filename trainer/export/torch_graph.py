"""The plain float32 graph of any encoder, traced by PyTorch's exporter.

Outputs: last_hidden_state [batch, tokens, hidden] and received_attention [batch, tokens]. The reduction of the last
layer's attention [batch, heads, tokens, tokens] is inside the graph, so it never leaves it.
"""

import contextlib
import io
import warnings
from pathlib import Path

import torch
from torch import Tensor

from trainer.encoder import Encoder

OPSET = 18
OUTPUT_NAMES = ["last_hidden_state", "received_attention"]


class ReceivedAttentionGraph(torch.nn.Module):
    """An encoder that also returns the attention each token receives in the last layer."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.model = encoder.model
        self.input_names = encoder.input_names

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        named = dict(zip(self.input_names, inputs, strict=True))
        output = self.model(**named, output_attentions=True)
        attentions = output.attentions[-1]
        mask = named["attention_mask"].to(attentions.dtype)
        # [batch, 1, 1, tokens] x [batch, heads, tokens, tokens]: one row of sums a head, without the padding's queries.
        by_head = torch.matmul(mask[:, None, None, :], attentions)
        return output.last_hidden_state, by_head.sum(dim=(1, 2)) * mask


def export_torch_graph(encoder: Encoder, path: Path) -> None:
    """Write the encoder's ONNX graph to `path`, both axes of every input dynamic."""
    ids = torch.full((2, 7), 5, dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[0, 4:] = 0
    samples = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    batch = torch.export.Dim("batch", min=1)
    tokens = torch.export.Dim("tokens", min=1, max=encoder.max_tokens)
    inputs = tuple(samples[name] for name in encoder.input_names)
    # The exporter reports its progress on standard output, which belongs to our events.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            ReceivedAttentionGraph(encoder).eval(), inputs, str(path), dynamo=True, opset_version=OPSET,
            input_names=encoder.input_names, output_names=OUTPUT_NAMES, external_data=False,
            dynamic_shapes=(tuple({0: batch, 1: tokens} for _ in inputs),),
        )
