"""Records in an order in which neighbours are about like things, so that a batch of neighbouring lines compares what is hard to tell apart.

Of a batch drawn at random a teacher says little: a query's own passage stands far out, and the others are alike unlike it.
Likeness here is by words (TF-IDF, latent semantic analysis): it needs no model, and owes nothing to teacher or student.
"""

import random

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

DIMENSIONS = 100


def by_topic(records: list[tuple[str, str]], size: int, draw: random.Random) -> list[tuple[str, str]]:
    """`records` in groups of `size`, one behind the other: each a record drawn from those left, and its nearest of those left."""
    words = TfidfVectorizer(sublinear_tf=True, stop_words="english", min_df=2, max_df=0.2).fit_transform(f"{query} {positive}" for query, positive in records)
    rows = normalize(TruncatedSVD(min(DIMENSIONS, words.shape[1] - 1), random_state=1).fit_transform(words)).astype(np.float32)
    left = np.ones(len(records), dtype=bool)
    ordered: list[int] = []
    for start in draw.sample(range(len(records)), len(records)):
        if not left[start]:
            continue
        left[start] = False
        places = np.flatnonzero(left)
        nearest = places[np.argsort(-(rows[places] @ rows[start]), kind="stable")[: size - 1]]
        left[nearest] = False
        ordered += [start, *nearest.tolist()]
    return [records[place] for place in ordered]
