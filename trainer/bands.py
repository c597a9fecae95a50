"""What a level of hardness is where negatives are mined: a band of similarity to the query. One definition for `mine` and `synthesize`.

    floor   = median similarity of the query to the corpus: what it has in common with any text
    ceiling = ratio x similarity of the positive - margin: what comes closer may well be an answer (the adaptive margin
              against false negatives; TopK-PercPos, NV-Retriever, arXiv 2407.15831)
    level l = [floor + (l - 1) w, floor + l w)        w = (ceiling - floor) / levels

A text that is nearly the positive is in no band. Where the ceiling is not above the floor, all bands are empty.
"""

import numpy as np

NEAR_DUPLICATE = 0.95  # cosine to the positive from which on a text says what the positive says


def ceiling(positive: np.ndarray | float, ratio: float, margin: float = 0.0) -> np.ndarray | float:
    """The similarity to the query that no negative may reach, from the positive's; of one query or of many [n]."""
    return ratio * positive - margin


def edges(similarities: np.ndarray, top: np.ndarray | float, levels: int) -> np.ndarray:
    """Bounds of the bands [..., levels + 1], from the similarities [..., texts] of (a sample of) the corpus to the query, and the ceiling [...]."""
    return np.linspace(np.median(similarities, axis=-1), top, levels + 1, axis=-1)


def inside(similarities: np.ndarray, bounds: np.ndarray, level: int) -> np.ndarray:
    """Which similarities [..., texts] lie in the band of `level`, counted from 1; `bounds` as `edges` gives them."""
    return (similarities >= bounds[..., level - 1, None]) & (similarities < bounds[..., level, None])


def differs(to_positive: np.ndarray) -> np.ndarray:
    """Which texts say something else than the positive, by their cosines to it."""
    return to_positive < NEAR_DUPLICATE
