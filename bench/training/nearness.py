"""How near a shortened model is to what it learned from, on texts that it did not: 1 - cosine, a kind of text at a time.

    python bench/training/nearness.py --student FOLDER [--student …] --whole FOLDER --also FOLDER=SHARE … --sample FOLDER --data DATA [--texts 300]

FOLDER of --student is what `trainer shorten` wrote, --whole and --also are as given to it; --sample has texts of its run, from which the turns of the
further teachers are fitted as they were for it. So many texts of each set in DATA/eval are drawn, queries and documents apart.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from distill import SETS  # noqa: E402
from torch import nn  # noqa: E402

from trainer.evaluate.sets import load_set  # noqa: E402
from trainer.model import load_model  # noqa: E402
from trainer.packed_texts import PackedTexts, pack, packed_texts  # noqa: E402
from trainer.wanted_states import CHUNK_TOKENS, Further, Reader, WantedStates, means, open_teachers  # noqa: E402

MAX_TOKENS = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", type=Path, action="append", required=True)
    parser.add_argument("--whole", type=Path, required=True)
    parser.add_argument("--also", action="append", default=[])
    parser.add_argument("--sample", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--output", type=Path, required=True, help="folder for the sample's tokens and the teachers' turns")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    whole = Reader(given.whole, MAX_TOKENS)
    teachers = open_teachers(given.also, whole)
    tokenizer, turns = given.whole / "tokenizer.json", given.output / "turns.npz"
    if teachers:  # fits the turns, and keeps them
        Further(teachers, whole, packed_texts([given.sample], tokenizer, MAX_TOKENS, given.output / "sample.npz"), turns)
    students = [load_model(folder) for folder in given.student]
    for student in students:
        student.max_seq_length = MAX_TOKENS
    print("| texts | words | " + " | ".join(str(folder) for folder in given.student) + " |\n|" + "---|" * (2 + len(students)))
    for name, texts in kinds(given.data / "eval"):
        drawn = [texts[place] for place in np.random.default_rng(0).permutation(len(texts))[: given.texts]]
        packed = pack(drawn, tokenizer, MAX_TOKENS)
        further = Further(teachers, whole, packed, turns) if teachers else None
        wanted = wanted_vectors(packed, whole, WantedStates(further, [whole.layers.count], packed), [whole, *(reader for reader, _ in teachers)])
        found = (torch.from_numpy(student.encode(drawn, show_progress_bar=False)) for student in students)
        print(f"| {name} | {np.mean([len(text.split()) for text in drawn]):.0f} | " + " | ".join(f"{float(1 - (one * wanted).sum(dim=1).mean()):.4f}" for one in found) + " |", flush=True)


def kinds(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Name -> texts, none twice."""
    for name in SETS:
        held = vars(load_set(str(folder / name), 0, 0, 0))
        found = {"documents": held.get("corpus", {}).values(), "queries": held.get("queries", {}).values(), "sentences": [*held.get("left", ()), *held.get("right", ())],
                 "texts": [text for part in ("train", "test", "texts") for _, text in held.get(part, ())]}
        for kind, texts in found.items():
            if texts:
                yield f"{name}, {kind}", sorted(set(texts))


def wanted_vectors(texts: PackedTexts, whole: Reader, wanted: WantedStates, readers: list[Reader]) -> torch.Tensor:
    """[texts, dimensions] of length 1."""
    runs, vectors = [reader.run() for reader in readers], []
    for rows in texts.chunks(range(len(texts)), CHUNK_TOKENS):
        states = wanted(rows, whole.embedded([texts[row] for row in rows]), runs)
        vectors.append(nn.functional.normalize(means(states[-1], texts.lengths(rows))))
    return torch.cat(vectors)


if __name__ == "__main__":
    main()
