"""Which layers of an encoder its similarities can do without: one after another is left out, always the one that changes them least.

    trainer/.venv/bin/python bench/training/layers.py --encoder FOLDER --texts TEXTS --keep 6 --output FILE

TEXTS has the records of distillation_texts.py, of which some of each file are embedded under mean pooling. Told of each set of layers: the
correlation of its cosines of all pairs of texts with those of all layers, and the mean cosine of a text's two vectors. The layers that are left
are what a recipe's `keep_layers` takes (docs/training.md).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from sentence_transformers import SentenceTransformer  # noqa: E402

from trainer.data.records import read_records  # noqa: E402
from trainer.evaluate.encoders import ModelEncoder  # noqa: E402
from trainer.model import PoolingChoice, new_model  # noqa: E402

MEAN = PoolingChoice(mode="mean")


class Cuts:
    """Compares an encoder with some of its layers to the whole."""

    def __init__(self, folder: Path, texts: Sequence[str], max_tokens: int, bf16: bool) -> None:
        self.folder, self.texts, self.max_tokens, self.bf16 = folder, texts, max_tokens, bf16
        whole = new_model(folder, MEAN, max_tokens)
        self.layers = whole[0].model.config.num_hidden_layers
        self.vectors = self._encode(whole)
        self.cosines = _pairs(self.vectors)

    def compare(self, kept: Sequence[int]) -> dict:
        vectors = self._encode(new_model(self.folder, MEAN, self.max_tokens, keep_layers=kept))
        return {"layers": list(kept), "correlation": float(np.corrcoef(self.cosines, _pairs(vectors))[0, 1]),
                "cosine": float((vectors * self.vectors).sum(axis=1).mean())}

    def _encode(self, model: SentenceTransformer) -> np.ndarray:
        return ModelEncoder(model, bf16=self.bf16).encode(self.texts, "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--keep", type=int, required=True)
    parser.add_argument("--records", type=int, default=28, help="of each file")
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    generator = np.random.default_rng(3)
    texts = []
    for path in sorted(arguments.texts.glob("*.jsonl.gz")):
        records = list(read_records(path, lambda _: None))
        texts += [records[i].positive for i in generator.choice(len(records), min(len(records), arguments.records), replace=False)]
    cuts = Cuts(arguments.encoder, texts, arguments.max_tokens, arguments.precision == "bf16")
    rows = [cuts.compare(range(start, cuts.layers, 2)) for start in (0, 1)]
    kept = list(range(cuts.layers))
    while len(kept) > arguments.keep:
        best = max((cuts.compare([other for other in kept if other != layer]) for layer in kept), key=lambda row: row["correlation"])
        kept = best["layers"]
        rows.append(best)
        print(json.dumps(best), flush=True)
    arguments.output.write_text(json.dumps({"encoder": str(arguments.encoder), "texts": len(texts), "cuts": rows}, indent=1) + "\n")


def _pairs(vectors: np.ndarray) -> np.ndarray:
    return (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]


if __name__ == "__main__":
    main()
