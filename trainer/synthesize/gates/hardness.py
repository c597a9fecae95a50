"""Graded hardness, measured: the similarity of a negative to the query is its hardness, whatever its author called it.

Asked for grades, small models write them in any order, so levels are given by rank of measured similarity (relabel), or the
author is asked again first (reask), or the record is dropped (drop). The level asked for stays in the data.
"""

from dataclasses import dataclass

import numpy as np

from trainer.synthesize.errors import Unusable
from trainer.synthesize.records import Negative

MIN_SPREAD = 0.02  # between the easiest and the hardest; below it the levels say nothing


@dataclass(frozen=True)
class Graded:
    """Negatives in rising order of similarity, which is their level: the first is level 1."""

    negatives: tuple[Negative, ...]
    similarities: tuple[float, ...]


def grade(negatives: list[Negative], similarities: np.ndarray, must_rise: bool) -> Graded:
    """Order negatives by measured similarity; raises Unusable where all are alike, or where `must_rise` and the order asked for does not."""
    asked = sorted(range(len(negatives)), key=lambda i: negatives[i].level)
    for easier, harder in zip(asked, asked[1:], strict=False):
        if must_rise and similarities[easier] >= similarities[harder]:
            raise Unusable("hardness", "not rising", f"level {negatives[easier].level} is as close to the query as level "
                           f"{negatives[harder].level}: {similarities[easier]:.3f} and {similarities[harder]:.3f}")
    order = np.argsort(similarities, kind="stable")
    spread = float(similarities[order[-1]] - similarities[order[0]])
    if spread < MIN_SPREAD:
        raise Unusable("hardness", "all levels alike", f"similarities within {spread:.3f}")
    return Graded(tuple(negatives[i] for i in order), tuple(float(similarities[i]) for i in order))
