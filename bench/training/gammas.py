"""ATA without any training: encoders as they are, pooled by received attention to several powers, by mean, and by [CLS].

    python bench/training/gammas.py --encoder MiniLM=FOLDER --encoder bge-small=FOLDER --data FOLDER --output FOLDER [--documents-max 1000 ...]

A FOLDER of --encoder is a Hugging Face encoder's, whatever its attention (`trainer base` makes one of an imported version); FOLDER/eval has the sets. Every text is
run once; all poolings share its hidden states. gamma 0 is the mean, gamma 1 our reading of arXiv 2509.00842. Prompts are left out, so
that a text has the same vector in every role. For each encoder a report against its mean is left in <output>/<name>/.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import numpy as np  # noqa: E402
import torch  # noqa: E402

from judged_sets import add_arguments, open_sets  # noqa: E402
from trainer import pooling  # noqa: E402
from trainer.encoder import load_encoder  # noqa: E402
from trainer.evaluate.judge import judge  # noqa: E402
from trainer.evaluate.report import write_report  # noqa: E402

GAMMAS = (0.0, 0.25, 0.5, 0.75, 1.0)
SETS = ("stsb", "sts12", "sts14", "sts15", "nq_oracle", "squad_dev", "cranfield", "banking77", "stackoverflow20")
BATCH = 16


class EveryPooling:
    """Vectors of all poolings of one encoder; the texts asked for last are kept, for the other poolings ask for them next."""

    def __init__(self, folder: Path, max_tokens: int, bf16: bool) -> None:
        self.encoder, self.bf16 = load_encoder(folder), bf16
        self.encoder.tokenizer.enable_truncation(min(max_tokens, self.encoder.max_tokens))
        self.encoder.tokenizer.enable_padding(pad_id=self.encoder.pad_token_id)
        self.known: dict[tuple[str, ...], dict[str, np.ndarray]] = {}

    def vectors(self, texts: tuple[str, ...], name: str) -> np.ndarray:
        if texts not in self.known:
            self.known[texts] = self._compute(texts)
        return self.known[texts][name]

    def _compute(self, texts: tuple[str, ...]) -> dict[str, np.ndarray]:
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        found: dict[str, np.ndarray] = {}
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            encodings = self.encoder.tokenizer.encode_batch([texts[row] for row in rows])
            ids, mask = (torch.tensor([getattr(encoding, part) for encoding in encodings]) for part in ("ids", "attention_mask"))
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                output = self.encoder.model(input_ids=ids, attention_mask=mask, output_attentions=True)
            hidden = output.last_hidden_state.float()
            received = pooling.received_attention(output.attentions[-1].float(), mask)
            pooled = {_named(gamma): pooling.anchor_token_aware(hidden, received, mask, gamma) for gamma in GAMMAS} | {"cls": pooling.cls(hidden)}
            for name, vectors in pooled.items():
                found.setdefault(name, np.zeros((len(texts), hidden.shape[2]), np.float32))[rows] = pooling.normalize(vectors).numpy()
        return found


class OnePooling:
    """A TextEncoder."""

    def __init__(self, every: EveryPooling, name: str) -> None:
        self.every, self.name = every, name

    def encode(self, texts: list[str], role: str) -> np.ndarray:
        return self.every.vectors(tuple(texts), self.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--output", type=Path, required=True)
    add_arguments(parser, SETS)
    arguments = parser.parse_args()
    sets = open_sets(arguments)
    for entry in arguments.encoder:
        name, _, folder = entry.partition("=")
        every = EveryPooling(Path(folder), arguments.max_tokens, arguments.precision == "bf16")
        names = [*(_named(gamma) for gamma in GAMMAS), "cls"]
        judged = {pooling_: [] for pooling_ in names}
        for one in sets.values():  # set by set, so that no more than one set's vectors are held
            every.known.clear()
            for pooling_ in names:
                judged[pooling_].append(judge(OnePooling(every, pooling_), one))
                print(f"{name} {pooling_} {judged[pooling_][-1].set} {100 * judged[pooling_][-1].main.value:.2f}", file=sys.stderr)
        about = {"encoder": name, "sets": list(arguments.sets), "maxTokens": arguments.max_tokens, "precision": arguments.precision,
                 "queriesMax": arguments.queries_max, "documentsMax": arguments.documents_max}
        write_report(arguments.output / name, judged, "mean", about)


def _named(gamma: float) -> str:
    return f"gamma {gamma:g}" if gamma else "mean"


if __name__ == "__main__":
    main()
