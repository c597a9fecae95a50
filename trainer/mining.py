"""Mine graded hard negatives for pairs from a corpus, with the model itself and no LLM.

A level's negative is drawn from its band of similarity to the query (trainer/bands.py), whose floor is estimated on a sample of
the corpus. Without --corpus, the other pairs' positives are the corpus.

Vectors lie on disk in float16 and are searched exactly, a block of queries against a block of texts: memory is bounded by
the blocks, whatever the corpus. The output has FlagEmbedding's fields with neg_levels, as `trainer synthesize` writes them.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer import bands
from trainer.data.store import RecordStore, open_store
from trainer.errors import InputError
from trainer.evaluate.encoders import TextEncoder, open_encoder
from trainer.events import emit
from trainer.gzipped import opened

ENCODE_TEXTS = 2048
QUERY_BLOCK = 256
TEXT_BLOCK = 16384
FLOOR_SAMPLE = 4096


@dataclass(frozen=True)
class Levels:
    """How many bands, and their ceiling."""

    count: int = 4
    ratio: float = 0.95
    margin: float = 0.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--encoder", required=True, metavar="PLACE", help="model folder, model version folder, or URL of a server")
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="pairs: JSON lines, gzipped or not")
    parser.add_argument("--corpus", type=Path, metavar="FILE", help="texts to mine from: JSON lines with text and, if any, title")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="records with negatives")
    parser.add_argument("--levels", type=int, default=4)
    parser.add_argument("--ratio", type=float, default=0.95, help="ceiling as a share of the positive's similarity")
    parser.add_argument("--margin", type=float, default=0.0, help="further distance of the ceiling, in cosine")
    parser.add_argument("--seed", type=int, default=1)


def run(arguments: argparse.Namespace) -> None:
    if arguments.output.exists():
        raise InputError(f"{arguments.output} exists already: choose another --output")
    if not (arguments.levels >= 1 and 0 < arguments.ratio <= 1 and arguments.margin >= 0):
        raise InputError("--levels must be at least 1, --ratio between 0 and 1, --margin at least 0")
    encoder = open_encoder(arguments.encoder)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.output.parent, prefix=".mining-") as folder:
        store = open_store(arguments.data, Path(folder), "pairs")
        texts = _corpus_texts(arguments.corpus) if arguments.corpus else list(dict.fromkeys(store[i].positive for i in range(len(store))))
        levels = Levels(arguments.levels, arguments.ratio, arguments.margin)
        written = mine(store, texts, encoder, levels, arguments.seed, Path(folder), arguments.output)
    emit("done", file=str(arguments.output), **written)


def mine(store: RecordStore, texts: Sequence[str], encoder: TextEncoder, levels: Levels, seed: int, folder: Path, output: Path) -> dict:
    """Write a record with negatives for each pair that has any; returns counts and the mean similarity of each level."""
    vectors = _encode(encoder, texts, folder / "texts.f16")
    sums, counts = np.zeros(levels.count), np.zeros(levels.count, dtype=int)
    answers: dict[str, set[str]] = {}  # to a query that stands in several records
    for record in (store[i] for i in range(len(store))):
        answers.setdefault(record.query, {record.query}).add(record.positive)
    records = 0
    staging = folder / "mined.jsonl"
    with staging.open("w", encoding="utf-8") as lines:
        for start in range(0, len(store), QUERY_BLOCK):
            block = [store[i] for i in range(start, min(start + QUERY_BLOCK, len(store)))]
            queries = encoder.encode([record.query for record in block], "query")
            positives = encoder.encode([record.positive for record in block], "document")
            taken, similarities = pick(queries, positives, vectors, levels, np.random.default_rng([seed, start]))
            for i, record in enumerate(block):
                found = [(level, int(taken[i, level])) for level in range(levels.count) if taken[i, level] >= 0
                         and texts[taken[i, level]] not in answers[record.query]]
                if not found:
                    continue
                records += 1
                for level, _ in found:
                    sums[level], counts[level] = sums[level] + similarities[i, level], counts[level] + 1
                lines.write(json.dumps({
                    "query": record.query, "pos": [record.positive], "neg": [texts[row] for _, row in found], "prompt": record.prompt,
                    "neg_levels": [level + 1 for level, _ in found], "pos_similarities": [round(float(queries[i] @ positives[i]), 5)],
                    "neg_similarities": [round(float(similarities[i, level]), 5) for level, _ in found]}, ensure_ascii=False) + "\n")
            emit("progress", stage="mine", step=min(start + QUERY_BLOCK, len(store)), of=len(store))
    staging.replace(output)
    means = [round(float(total / count), 4) if count else None for total, count in zip(sums, counts, strict=True)]
    return {"records": records, "pairs": len(store), "negatives": int(counts.sum()), "levelCounts": counts.tolist(), "levelSimilarities": means}


def pick(queries: np.ndarray, positives: np.ndarray, vectors: np.ndarray, levels: Levels, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """For each query [n, d] and level, a random row of `vectors` [t, d] from the level's band, or -1; and its similarity: both [n, levels]."""
    sample = vectors[np.sort(generator.permutation(len(vectors))[:FLOOR_SAMPLE])].astype(np.float32)
    bounds = bands.edges(queries @ sample.T, bands.ceiling((queries * positives).sum(axis=1), levels.ratio, levels.margin), levels.count)
    shape = (len(queries), levels.count)
    best_key, best_row, best_similarity = np.full(shape, -1.0), np.full(shape, -1, dtype=np.int64), np.zeros(shape)
    shift = generator.random((len(queries), 1))
    for start in range(0, len(vectors), TEXT_BLOCK):
        block = vectors[start : start + TEXT_BLOCK].astype(np.float32)
        similarities = queries @ block.T
        usable = bands.differs(positives @ block.T)
        # One key a text, rotated by query: as good as a draw from the band, without a draw for every pair.
        keys = (generator.random(len(block)) + shift) % 1.0
        for level in range(levels.count):
            of_level = np.where(usable & bands.inside(similarities, bounds, level + 1), keys, -1.0)
            rows = of_level.argmax(axis=1)
            key = of_level[np.arange(len(rows)), rows]
            better = key > best_key[:, level]
            best_key[better, level], best_row[better, level] = key[better], start + rows[better]
            best_similarity[better, level] = similarities[better, rows[better]]
    return best_row, best_similarity


def _encode(encoder: TextEncoder, texts: Sequence[str], path: Path) -> np.ndarray:
    """Vectors of the texts [t, d] in float16, mapped from `path`."""
    count = 0
    with path.open("wb") as file:
        for part in _parts(texts, ENCODE_TEXTS):
            rows = encoder.encode(part, "document").astype(np.float16)
            file.write(rows.tobytes())
            count += len(rows)
            emit("progress", stage="embed corpus", step=count, of=len(texts))
    return np.memmap(path, dtype=np.float16, mode="r").reshape(count, -1)


def _parts(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (texts[start : start + size] for start in range(0, len(texts), size))


def _corpus_texts(path: Path) -> list[str]:
    """Distinct texts of BEIR's corpus.jsonl or any lines with `text`."""
    if not path.is_file():
        raise InputError(f"there is no corpus at {path}")
    texts: dict[str, None] = {}
    with opened(path) as lines:
        for number, line in enumerate(lines, start=1):
            try:
                fields = json.loads(line)
                texts[f"{fields.get('title') or ''} {fields['text']}".strip()] = None
            except (ValueError, KeyError, AttributeError) as error:
                raise InputError(f"{path}:{number} is no JSON object with a text") from error
    return list(texts)
