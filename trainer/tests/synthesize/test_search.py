"""Mining at bands, over vectors whose similarities are known."""

import numpy as np

from trainer.synthesize.records import Passage
from trainer.synthesize.search import CorpusSearch, Wanted, mine

# Cosine i/100 to the query for passage i, in the plane of the query; the positive stands apart from all of them.
COSINES = np.arange(100) / 100
VECTORS = np.stack([COSINES, np.sqrt(1 - COSINES**2), np.zeros(100)], axis=1).astype(np.float32)
SEARCH = CorpusSearch([Passage(f"p{i}", f"text {i}") for i in range(100)], VECTORS)
QUERY = np.array([1, 0, 0], np.float32)
POSITIVE = np.array([0.9, 0, np.sqrt(1 - 0.81)], np.float32)


def wanted(**changes: object) -> Wanted:
    return Wanted(**{"query": QUERY, "positive": POSITIVE, "levels": (1, 2, 3, 4), "highest_level": 4, "ceiling": 0.8955, **changes})


def test_each_level_is_mined_from_its_band_between_the_median_and_the_ceiling() -> None:
    for seed in range(20):
        places = [int(negative.origin[1:]) for negative in mine(SEARCH, wanted(), seed)]
        assert all(low <= place < high for place, low, high in zip(places, (49, 59, 69, 79), (60, 70, 80, 90), strict=True)), places


def test_nothing_above_the_ceiling_or_excluded_is_mined() -> None:
    everything = {negative.origin for seed in range(200) for negative in mine(SEARCH, wanted(excluded={"p85"}), seed)}
    assert max(int(origin[1:]) for origin in everything) == 89
    assert "p85" not in everything


def test_a_passage_that_says_what_the_positive_says_is_never_a_negative() -> None:
    vectors = VECTORS.copy()
    vectors[60] = POSITIVE
    search = CorpusSearch(SEARCH.passages, vectors)
    assert all(negative.origin != "p60" for seed in range(200) for negative in mine(search, wanted(ceiling=1.0), seed))


def test_the_same_seed_mines_the_same_and_another_seed_does_not() -> None:
    assert mine(SEARCH, wanted(), 3) == mine(SEARCH, wanted(), 3)
    assert len({tuple(negative.origin for negative in mine(SEARCH, wanted(), seed)) for seed in range(10)}) > 5


def test_an_empty_band_gives_its_nearest_passage_and_an_exhausted_corpus_fewer_negatives() -> None:
    few = CorpusSearch(SEARCH.passages[:3], VECTORS[[5, 20, 88]])
    few.place = {passage.id: i for i, passage in enumerate(few.passages)}
    found = mine(few, wanted(), 1)
    assert len(found) == 3
    assert len({negative.origin for negative in found}) == 3
    assert mine(few, wanted(excluded={"p0", "p1", "p2"}), 1) == []


def test_the_rank_of_a_positive_counts_the_passages_that_are_closer_without_its_own() -> None:
    assert SEARCH.rank(QUERY, "p99", POSITIVE) == 9, "p91 to p98 are closer than 0.9, and p90 is not"
