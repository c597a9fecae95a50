"""A model asked for what its pooling makes of earlier layers, beside the last."""

from collections.abc import Sequence
from typing import Any

from sentence_transformers import SentenceTransformer
from torch import Tensor

from trainer.poolings.anchor_token_aware import ReceivedAttentionTransformer


def ask_for_exits(model: SentenceTransformer, layers: Sequence[int]) -> None:
    """Let the output of `model[0]` hold what at_exit needs after each of `layers`, numbers from 1."""
    model[0].model.config.output_hidden_states = True
    if isinstance(model[0], ReceivedAttentionTransformer):
        model[0].exits = tuple(layer - 1 for layer in layers)


def at_exit(output: dict[str, Any], layer: int) -> dict[str, Any]:
    """`output` of `model[0]` as if `layer`, a number from 1, were its last."""
    found = {**output, "token_embeddings": output["all_layer_embeddings"][layer]}
    if "exit_received_attention" in output:
        found["received_attention"] = output["exit_received_attention"][layer - 1]
    return found


def pooled(model: SentenceTransformer, output: dict[str, Any]) -> Tensor:
    """[texts, dimensions]: what the modules behind `model[0]` make of its output, which stays as it is."""
    for module in list(model)[1:]:
        output = module(dict(output))
    return output["sentence_embedding"]
