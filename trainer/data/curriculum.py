"""Which hardness a record's negatives have, and when: the order in which a run meets the levels.

MGH (arXiv 2509.00842) found coarse to fine best, then single levels, random order, and reverse last.

| order | negatives of a record at progress f (0 to 1) |
|---|---|
| all | every one at once |
| none | none: the other records' texts alone |
| coarse-to-fine | those of level 1 first, of the highest level last, each level for an equal share of the run |
| reverse | the same from the highest level down |
| random | of one level drawn anew for each record |
| level-N | of level N always |
| progressive | of a level drawn by the model's own present difficulty with it: easy ones first, hard ones last (after PEG, arXiv 2311.11691) |

A record without a negative of the level asked for gives its nearest easier one, or its easiest.
"""

import re
from collections.abc import Sequence

import numpy as np

from trainer.data.records import Record
from trainer.errors import InputError

ORDERS = ("all", "none", "coarse-to-fine", "reverse", "random", "progressive")
LEVEL_ORDER = re.compile(r"^level-([1-9][0-9]*)$")
# How strongly `progressive` leans at the ends of a run, in units of the levels' spread of hardness.
PROGRESSIVE_LEAN = 2.0
DIFFICULTY_MEMORY = 0.95


def check_order(order: str) -> None:
    if order not in ORDERS and not LEVEL_ORDER.match(order):
        raise InputError(f"order {order!r} must be one of {', '.join(ORDERS)} or level-N")


class LevelDifficulty:
    """For each level, a moving average of how close its negatives come to the positive: mean of s_negative - s_positive."""

    def __init__(self, averages: dict[int, float] | None = None) -> None:
        self.averages = dict(averages or {})

    def observe(self, level: int, hardness: float) -> None:
        before = self.averages.get(level, hardness)
        self.averages[level] = DIFFICULTY_MEMORY * before + (1 - DIFFICULTY_MEMORY) * hardness

    def weights(self, levels: Sequence[int], progress: float) -> np.ndarray:
        """Probabilities of `levels`: equal until seen, leaning to the easy at progress 0 and to the hard at progress 1."""
        known = [self.averages.get(level) for level in levels]
        if None in known or len(known) < 2:
            return np.full(len(levels), 1 / len(levels))
        hardness = np.array(known)
        spread = hardness.std() or 1.0
        exponents = PROGRESSIVE_LEAN * (2 * progress - 1) * (hardness - hardness.mean()) / spread
        weights = np.exp(exponents - exponents.max())
        return weights / weights.sum()


def choose_negatives(
    record: Record, order: str, levels: Sequence[int], progress: float, generator: np.random.Generator, difficulty: LevelDifficulty,
) -> list[int]:
    """Numbers of the record's negatives to train with now. `levels` are the source's, rising; `progress` in [0, 1)."""
    if order == "all" or not record.negatives:
        return list(range(len(record.negatives)))
    if order == "none":
        return []
    wanted = _level(order, levels, progress, generator, difficulty)
    easier = [level for level in record.levels if level <= wanted]
    level = max(easier) if easier else min(record.levels)
    return [i for i, own in enumerate(record.levels) if own == level]


def _level(order: str, levels: Sequence[int], progress: float, generator: np.random.Generator, difficulty: LevelDifficulty) -> int:
    if match := LEVEL_ORDER.match(order):
        return int(match[1])
    share = min(int(progress * len(levels)), len(levels) - 1)
    if order == "coarse-to-fine":
        return levels[share]
    if order == "reverse":
        return levels[len(levels) - 1 - share]
    weights = None if order == "random" else difficulty.weights(levels, progress)
    return int(generator.choice(levels, p=weights))
