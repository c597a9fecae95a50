"""Write golden data: what PyTorch makes of the reference texts, for the server's tests.

test/golden/README.md describes the file. Every text is run alone, in eager attention, without padding.
"""

import argparse
import base64
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer import pooling
from trainer.encoder import Encoder, load_encoder
from trainer.events import emit
from trainer.export.parity import BOUNDS, reference_texts

POOLINGS: dict[str, dict[str, Any]] = {
    "ata-0.5": {"mode": "ata", "gamma": 0.5},
    "ata-1": {"mode": "ata", "gamma": 1.0},
    "mean": {"mode": "mean"},
    "cls": {"mode": "cls"},
    "last": {"mode": "last"},
}
# Texts with few tokens whose hidden states and attentions are stored too: they grow with the square of the length.
DETAILED_TOKENS = (3, 5, 8, 11, 16)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="Hugging Face folder of an encoder")
    parser.add_argument("--origin", default="", help="the model's name, kept in the file")
    parser.add_argument("--output", type=Path, default=Path("test/golden/embeddings.json.gz"), metavar="FILE")


def run(arguments: argparse.Namespace) -> None:
    encoder = load_encoder(arguments.model)
    texts, details = [], []
    wanted = list(DETAILED_TOKENS)
    for i, text in enumerate(reference_texts()):
        ids = encoder.token_ids(text)
        hidden, attentions = _run(encoder, ids)
        texts.append({"text": text, "tokenIds": ids, "embeddings": _embeddings(hidden, attentions)})
        if len(ids) in wanted:
            wanted.remove(len(ids))
            received = pooling.received_attention(attentions, torch.ones(1, len(ids), dtype=torch.long))
            details.append({"text": i, "heads": attentions.shape[1], "tokens": len(ids), "hiddenStates": _pack(hidden),
                            "attentions": _pack(attentions), "receivedAttention": _pack(received)})
    int8 = BOUNDS["int8"]
    document = {
        "origin": arguments.origin,
        "dimensions": encoder.dimensions,
        "maxTokens": encoder.max_tokens,
        "tolerances": {"float32": {"maxDifference": BOUNDS["float32"].max_difference},
                       "int8": {"minCosine": int8.min_cosine, "meanCosine": int8.mean_cosine, "batchMinCosine": int8.batch_min_cosine}},
        "poolings": POOLINGS,
        "texts": texts,
        "details": details,
    }
    # Without a time stamp: the same model gives the same file.
    arguments.output.write_bytes(gzip.compress(json.dumps(document, ensure_ascii=False).encode(), mtime=0))
    emit("done", output=str(arguments.output), texts=len(texts), bytes=arguments.output.stat().st_size)


def _run(encoder: Encoder, ids: list[int]) -> tuple[Tensor, Tensor]:
    """-> last hidden states [1, tokens, hidden] and the last layer's attentions [1, heads, tokens, tokens]."""
    tensor = torch.tensor([ids])
    with torch.inference_mode():
        output = encoder.model(input_ids=tensor, attention_mask=torch.ones_like(tensor), output_attentions=True)
    return output.last_hidden_state, output.attentions[-1]


def _embeddings(hidden: Tensor, attentions: Tensor) -> dict[str, str]:
    """Normalized embeddings of one text by pooling, packed."""
    mask = torch.ones(hidden.shape[:2], dtype=torch.long)
    received = pooling.received_attention(attentions, mask)
    pooled = {
        "ata": lambda gamma: pooling.anchor_token_aware(hidden, received, mask, gamma),
        "mean": lambda _: pooling.mean(hidden, mask),
        "cls": lambda _: pooling.cls(hidden),
        "last": lambda _: pooling.last_token(hidden, mask),
    }
    return {name: _pack(pooling.normalize(pooled[entry["mode"]](entry.get("gamma")))) for name, entry in POOLINGS.items()}


def _pack(values: Tensor) -> str:
    """Base64 of little-endian float32 in row-major order."""
    return base64.b64encode(np.ascontiguousarray(values.numpy(), dtype="<f4").tobytes()).decode("ascii")
