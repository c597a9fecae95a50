"""The values that reach each linear layer, seen on texts: what static int8 chooses its scales from."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from trainer.encoder import Encoder
from trainer.errors import InputError
from trainer.gzipped import opened

# Where a block's values are quantized: before query, key and value; before attention_output; before intermediate. What
# reaches `output` follows from the last one.
SITES = ("hidden", "context", "attended")
# arXiv titles and abstracts, CC0.
CALIBRATION_TEXTS = Path(__file__).parents[1] / "calibration_texts.jsonl.gz"
TEXTS = 480
TOKENS_PER_TEXT = 24
RANDOM_LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128)


@dataclass(frozen=True)
class Activations:
    """Sampled values [samples, hidden] at each (layer, site): of real texts, and of token sequences that are no language."""

    real: dict[tuple[int, str], np.ndarray]
    odd: dict[tuple[int, str], np.ndarray]


def read_calibration_texts(paths: Sequence[Path]) -> list[str]:
    """TEXTS texts, as many from each JSON Lines file (or .gz) of {"text"} or {"query", "positive"} objects; the same every time."""
    share = -(-TEXTS // len(paths))
    return [text for path in paths for text in _draw(path, share)]


def _draw(path: Path, count: int) -> list[str]:
    """Up to `count` texts out of one file."""
    try:
        with opened(path) as lines:
            records = [json.loads(line) for line in lines]
        texts = [record[key] for record in records for key in ("text", "query", "positive") if key in record]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"--calibration-data {path} cannot be read as JSON Lines: {error}") from error
    if not texts:
        raise InputError(f"--calibration-data {path} has no text, query or positive")
    return random.Random(3).sample(texts, min(count, len(texts)))


def odd_rows(vocabulary: int) -> list[list[int]]:
    """Token id rows that no text has: random ids and repeated ones, the special tokens among them, 1 to 128 long."""
    generator = random.Random(1)
    rows = [[generator.randrange(vocabulary) for _ in range(length)] for length in RANDOM_LENGTHS for _ in range(6)]
    return rows + [[generator.randrange(vocabulary)] * length for length in (1, 2, 5, 20) for _ in range(8)]


def observe(encoder: Encoder, texts: Sequence[str]) -> Activations:
    """Run `texts` and odd rows through the PyTorch model and keep a sample of the values at every site."""
    real = [encoder.token_ids(text) for text in texts]
    first, last = real[0][0], real[0][-1]
    special = sorted({encoder.pad_token_id, *encoder.tokenizer.get_added_tokens_decoder()})
    repeated = [[token] * count for token in special for count in (1, 3)]
    odd = [[first, *row[: encoder.max_tokens - 2], last] for row in odd_rows(encoder.tokenizer.get_vocab_size()) + repeated]
    return Activations(_observe_rows(encoder, real), _observe_rows(encoder, odd))


def _observe_rows(encoder: Encoder, rows: Sequence[Sequence[int]]) -> dict[tuple[int, str], np.ndarray]:
    """Values [samples, hidden] by (layer, site); of each row its first and last token and some between."""
    generator = random.Random(0)
    seen: dict[tuple[int, str], list[np.ndarray]] = {}
    chosen: list[int] = []

    def keep(key: tuple[int, str]) -> torch.utils.hooks.RemovableHandle:
        def hook(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            seen.setdefault(key, []).append(inputs[0][0, chosen].numpy())
        layer = encoder.model.encoder.layer[key[0]]
        modules = {"hidden": layer.attention.self.query, "context": layer.attention.output.dense, "attended": layer.intermediate.dense}
        return modules[key[1]].register_forward_pre_hook(hook)

    handles = [keep((i, site)) for i in range(encoder.model.config.num_hidden_layers) for site in SITES]
    try:
        with torch.inference_mode():
            for row in rows:
                chosen[:] = sorted({0, len(row) - 1, *generator.sample(range(len(row)), min(len(row), TOKENS_PER_TEXT))})
                encoder.model(input_ids=torch.tensor([row]))
    finally:
        for handle in handles:
            handle.remove()
    return {key: np.concatenate(values) for key, values in seen.items()}
