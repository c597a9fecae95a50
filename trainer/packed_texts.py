"""All texts of a run as token ids, one behind another, and how they are dealt out."""

import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from trainer.errors import InputError
from trainer.gzipped import opened

TOKENIZED_AT_ONCE = 10_000


class PackedTexts:
    """`ids` [tokens], and where each text ends in it."""

    def __init__(self, ids: np.ndarray, ends: np.ndarray) -> None:
        self.ids, self.ends = ids, ends

    def __len__(self) -> int:
        return len(self.ends)

    def span(self, row: int) -> slice:
        return slice(int(self.ends[row - 1]) if row else 0, int(self.ends[row]))

    def __getitem__(self, row: int) -> np.ndarray:
        return self.ids[self.span(row)]

    def lengths(self, rows: Sequence[int]) -> list[int]:
        return [len(self[row]) for row in rows]

    def batches(self, tokens: int, seed: int, skipped: int) -> Iterator[list[int]]:
        """Rows, of `tokens` at least a batch, all drawn once before any comes again; without the first `skipped` batches."""
        number, batch, size, epoch = 0, [], 0, 0
        while True:
            for row in np.random.default_rng([seed, epoch]).permutation(len(self)):
                batch.append(int(row))
                size += len(self[int(row)])
                if size >= tokens:
                    if number >= skipped:
                        yield batch
                    number, batch, size = number + 1, [], 0
            epoch += 1

    def chunks(self, rows: Sequence[int], tokens: int) -> list[list[int]]:
        """Rows one after another, of up to `tokens` together."""
        chunks: list[list[int]] = []
        size = tokens
        for row, length in zip(rows, self.lengths(rows), strict=True):
            if size + length > tokens:
                chunks.append([])
                size = 0
            chunks[-1].append(row)
            size += length
        return chunks


def pack(texts: Sequence[str], tokenizer: Path, max_tokens: int) -> PackedTexts:
    """The texts as tokens of the file `tokenizer`, each cut at `max_tokens`."""
    reader = Tokenizer.from_file(str(tokenizer))
    reader.no_padding()
    reader.enable_truncation(max_tokens)
    ids = [np.array(one.ids, np.int32) for start in range(0, len(texts), TOKENIZED_AT_ONCE) for one in reader.encode_batch_fast(texts[start : start + TOKENIZED_AT_ONCE])]
    return PackedTexts(np.concatenate(ids), np.cumsum([len(one) for one in ids]))


def packed_texts(folders: Sequence[Path], tokenizer: Path, max_tokens: int, kept: Path) -> PackedTexts:
    """Every string of the records in the folders' files of JSON lines, gzipped or not, once; kept in the file `kept` for the next time."""
    if not kept.is_file():
        texts = sorted(_texts(folders))
        if not texts:
            raise InputError(f"there are no texts in {', '.join(map(str, folders))}: files of JSON lines (*.jsonl, *.jsonl.gz) are read")
        made, own = pack(texts, tokenizer, max_tokens), kept.with_suffix(".part.npz")
        np.savez(own, ids=made.ids, ends=made.ends)
        own.replace(kept)
    held = np.load(kept)
    return PackedTexts(held["ids"], held["ends"])


def _texts(folders: Sequence[Path]) -> set[str]:
    texts: set[str] = set()
    for path in [path for folder in folders for path in sorted(folder.glob("*.jsonl*"))]:
        try:
            with opened(path) as lines:
                for line in lines:
                    texts |= {value for value in json.loads(line).values() if isinstance(value, str) and value.strip()}
        except (ValueError, AttributeError, OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path} is no file of JSON objects, one a line: {error}") from error
    return texts
