"""Bands as they are defined, at their bounds, and the same for both miners."""

import numpy as np

from trainer import bands
from trainer.mining import Levels, pick
from trainer.synthesize.records import Passage
from trainer.synthesize.search import CorpusSearch, Wanted, mine


def test_bands_are_equal_half_open_and_lie_between_the_median_and_the_ceiling() -> None:
    similarities = np.array([0.0, 0.1, 0.2, 0.4, 0.59, 0.6, 0.8, 0.9])
    bounds = bands.edges(np.array([0.0, 0.2, 0.4]), bands.ceiling(0.9, 1.0, 0.1), 3)
    np.testing.assert_allclose(bounds, [0.2, 0.4, 0.6, 0.8])
    found = [np.flatnonzero(bands.inside(similarities, np.array([0.2, 0.4, 0.6, 0.8]), level)).tolist() for level in (1, 2, 3)]
    assert found == [[2], [3, 4], [5]], "a bound belongs to the harder band, and the ceiling to none"


def test_a_ceiling_below_the_floor_leaves_every_band_empty_and_many_queries_have_bands_of_their_own() -> None:
    similarities = np.stack([np.linspace(0, 1, 101)] * 2)
    bounds = bands.edges(similarities, np.array([0.4, 0.9]), 2)
    counts = [bands.inside(similarities, bounds, level).sum(axis=1).tolist() for level in (1, 2)]
    assert counts[0][0] == counts[1][0] == 0 and min(counts[0][1], counts[1][1]) >= 19


def test_both_miners_take_a_level_from_the_same_band() -> None:
    cosines = np.arange(100) / 100
    vectors = np.stack([cosines, np.sqrt(1 - cosines**2), np.zeros(100)], axis=1).astype(np.float32)
    query, positive = np.array([1, 0, 0], np.float32), np.array([0.9, 0, np.sqrt(1 - 0.81)], np.float32)
    search = CorpusSearch([Passage(f"p{i}", f"text {i}") for i in range(100)], vectors)
    wanted = Wanted(query, positive, (1, 2, 3, 4), 4, float(bands.ceiling(0.9, 0.95)))
    one, other = [set() for _ in range(4)], [set() for _ in range(4)]
    for seed in range(300):
        for level, negative in enumerate(mine(search, wanted, seed)):
            one[level].add(int(negative.origin[1:]))
        rows, _ = pick(query[None], positive[None], vectors, Levels(4, 0.95), np.random.default_rng(seed))
        for level in range(4):
            other[level].add(int(rows[0, level]))
    assert one == other
