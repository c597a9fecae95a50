"""Is the graph the model? Real texts of all lengths, embedded by PyTorch one by one and by the graph in two companies.

Each text goes through the graph alone and in a padded batch of texts of other lengths; both are compared with PyTorch's
eager attention without padding, and with each other. A version is published only if every bound of its kind holds.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainer import pooling
from trainer.encoder import Encoder
from trainer.errors import ParityError
from trainer.session import EncoderSession

REFERENCE_TEXTS = Path(__file__).parents[1] / "reference_texts.json"
BATCH = 12


@dataclass(frozen=True)
class Bounds:
    """What a kind of graph must reach; differences are between normalized embeddings."""

    max_difference: float = float("inf")
    min_cosine: float = -1.0
    mean_cosine: float = -1.0
    batch_max_difference: float = float("inf")
    batch_min_cosine: float = -1.0


BOUNDS = {
    "float32": Bounds(max_difference=1e-5, batch_max_difference=1e-5),
    "int8": Bounds(min_cosine=0.98, mean_cosine=0.998, batch_min_cosine=0.9999),
    "int8-dynamic": Bounds(min_cosine=0.95, mean_cosine=0.98),
}


@dataclass(frozen=True)
class Parity:
    """Figures over all reference texts: to PyTorch (the worse of alone and batched), and alone against batched."""

    texts: int
    max_difference: float
    min_cosine: float
    mean_cosine: float
    batch_max_difference: float
    batch_min_cosine: float

    def figures(self) -> dict[str, float]:
        return {key: float(f"{value:.8g}") for key, value in asdict(self).items()}


def reference_texts() -> list[str]:
    """Two hundred texts of 1 to more than 512 tokens: arXiv titles and abstracts (CC0) and punctuation and scripts of ours."""
    return json.loads(REFERENCE_TEXTS.read_text(encoding="utf-8"))


def reference_embeddings(encoder: Encoder, rows: Sequence[Sequence[int]], gamma: float, layers: int = 0) -> Tensor:
    """PyTorch's embeddings [texts, hidden] of token id rows, each run alone; of layer number `layers`, or 0 for the last."""
    vectors = []
    for row in rows:
        ids = torch.tensor([row])
        mask = torch.ones_like(ids)
        with torch.inference_mode():
            output = encoder.model(input_ids=ids, attention_mask=mask, output_attentions=True, output_hidden_states=True)
        # hidden_states begins with the embeddings, attentions with the first layer.
        received = pooling.received_attention(output.attentions[layers - 1], mask)
        vectors.append(pooling.anchor_token_aware(output.hidden_states[layers or -1], received, mask, gamma))
    return pooling.normalize(torch.cat(vectors))


def measure_parity(encoder: Encoder, graph: Path, gamma: float, layers: int = 0) -> Parity:
    """Compare the graph at `graph` with the PyTorch model on the reference texts; `layers` is an exit, or 0 for the last layer."""
    rows = [encoder.token_ids(text) for text in reference_texts()]
    expected = reference_embeddings(encoder, rows, gamma, layers)
    session = EncoderSession(graph, threads=1, pad_token_id=encoder.pad_token_id, layers=layers)
    alone = torch.cat([session.embed([row], gamma) for row in rows])
    # Padding to the longest makes mixed batches dear, so every fifth text goes through one.
    batched = alone.clone()
    batched[::5] = _embed_in_mixed_batches(session, rows[::5], gamma)
    cosines = torch.minimum(_cosine(alone, expected), _cosine(batched, expected))
    return Parity(
        texts=len(rows),
        max_difference=max(_difference(alone, expected), _difference(batched, expected)),
        min_cosine=cosines.min().item(),
        mean_cosine=cosines.mean().item(),
        batch_max_difference=_difference(alone, batched),
        batch_min_cosine=_cosine(alone, batched).min().item(),
    )


def check_parity(parity: Parity, bounds: Bounds) -> None:
    """Raise ParityError with the figures and the bounds that they miss."""
    figures, limits = parity.figures(), asdict(bounds)
    missed = [
        f"{key} {figures[key]:.8g} ({'at most' if 'difference' in key else 'at least'} {limit:g})"
        for key, limit in limits.items()
        if not (figures[key] <= limit if "difference" in key else figures[key] >= limit)
    ]
    if missed:
        raise ParityError(f"the graph is not equal to the PyTorch model over {parity.texts} texts: {', '.join(missed)}; nothing was published")


def _embed_in_mixed_batches(session: EncoderSession, rows: Sequence[Sequence[int]], gamma: float) -> Tensor:
    """Embeddings in the order of `rows`, computed in shuffled batches so that short rows are padded to long ones."""
    order = list(range(len(rows)))
    random.Random(11).shuffle(order)
    vectors = [session.embed([rows[i] for i in order[start : start + BATCH]], gamma) for start in range(0, len(order), BATCH)]
    result = torch.empty(len(rows), vectors[0].shape[1])
    result[torch.tensor(order)] = torch.cat(vectors)
    return result


def _cosine(left: Tensor, right: Tensor) -> Tensor:
    """Cosines [texts] of normalized rows, in float64 so that 1e-8 is visible."""
    return torch.nn.functional.cosine_similarity(left.double(), right.double(), dim=1)


def _difference(left: Tensor, right: Tensor) -> float:
    return (left - right).abs().max().item()
