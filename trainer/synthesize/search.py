"""Exact search over the corpus's vectors, and negatives mined at bands of similarity.

A level takes a passage from its band (trainer/bands.py); where the band is empty, the one nearest to its middle.
"""

import hashlib
import random
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer import bands
from trainer.synthesize.corpus import Corpus
from trainer.synthesize.encoder import Encoder
from trainer.synthesize.errors import StopRun
from trainer.synthesize.events import Progress
from trainer.synthesize.records import Negative, Passage

EMBED_CHUNK = 512


class CorpusSearch:
    """Passages with their unit vectors [n, dimensions], in the order of the corpus."""

    def __init__(self, passages: list[Passage], vectors: np.ndarray) -> None:
        self.passages, self.vectors = passages, vectors
        self.place = {passage.id: i for i, passage in enumerate(passages)}

    def passage(self, id_: str) -> Passage:
        return self.passages[self.place[id_]]

    def similarities(self, vector: np.ndarray) -> np.ndarray:
        """Cosines [n] of every passage to a unit vector."""
        return self.vectors @ vector

    def rank(self, query: np.ndarray, passage_id: str, positive: np.ndarray) -> int:
        """How many passages are more similar to the query than `positive`, plus one; the passage itself does not count."""
        similarities = self.similarities(query)
        similarities[self.place[passage_id]] = -1.0
        return int((similarities > query @ positive).sum()) + 1


@dataclass(frozen=True)
class Wanted:
    """What is to be mined: the levels, for a query and its positive (unit vectors), never from `excluded` passages."""

    query: np.ndarray
    positive: np.ndarray
    levels: tuple[int, ...]
    highest_level: int
    ceiling: float  # similarity to the query that no negative may exceed
    excluded: Collection[str] = ()


def mine(search: CorpusSearch, wanted: Wanted, seed: int) -> list[Negative]:
    """A passage for each wanted level, easiest first; fewer where the corpus has no fit. Same seed, same passages."""
    similarities = search.similarities(wanted.query)
    usable = (similarities <= wanted.ceiling) & bands.differs(search.similarities(wanted.positive))
    usable[[search.place[id_] for id_ in wanted.excluded if id_ in search.place]] = False
    bounds = bands.edges(similarities, wanted.ceiling, wanted.highest_level)
    chosen: list[Negative] = []
    for level in sorted(wanted.levels):
        place = _pick(similarities, usable, bounds, level, random.Random(f"{seed}/{level}"))
        if place is not None:
            usable[place] = False
            chosen.append(Negative(search.passages[place].text, level, search.passages[place].id))
    return chosen


def _pick(similarities: np.ndarray, usable: np.ndarray, bounds: np.ndarray, level: int, rng: random.Random) -> int | None:
    """A random passage of the level's band, or the one nearest to its middle where the band is empty."""
    of_level = np.flatnonzero(usable & bands.inside(similarities, bounds, level))
    if len(of_level):
        return int(of_level[rng.randrange(len(of_level))])
    left = np.flatnonzero(usable)
    if not len(left):
        return None
    return int(left[np.argmin(np.abs(similarities[left] - bounds[level - 1 : level + 1].mean()))])


def index_corpus(corpus: Corpus, encoder: Encoder, cache: Path, stop: threading.Event) -> CorpusSearch:
    """Embed every passage's text, or read the vectors that an earlier run left in `cache`; raises StopRun once `stop` is set."""
    key = hashlib.sha256((corpus.fingerprint() + encoder.manifest["fingerprint"]).encode()).hexdigest()[:16]
    path = cache / f"corpus-{key}.npy"
    if path.is_file():
        return CorpusSearch(corpus.passages, np.load(path))
    texts = [passage.text for passage in corpus.passages]
    progress = Progress("embed corpus", len(texts))
    chunks = []
    for start in range(0, len(texts), EMBED_CHUNK):
        if stop.is_set():
            raise StopRun("signal", "asked to stop")
        chunks.append(encoder.embed(texts[start : start + EMBED_CHUNK]))
        progress.at(min(start + EMBED_CHUNK, len(texts)))
    vectors = np.concatenate(chunks)
    cache.mkdir(parents=True, exist_ok=True)
    staging = path.with_suffix(".new.npy")
    np.save(staging, vectors)
    staging.replace(path)
    return CorpusSearch(corpus.passages, vectors)
