"""Runs of one recipe that differ by their seed alone: the mean figure, and how sure it is over items and over seeds.

A two-level percentile bootstrap: each draw takes runs with replacement and items with replacement, the same rows and the same
runs for whatever is compared, so differences are paired by item and by seed. Three seeds say little about their own spread;
the interval is wider than that of one run, and still too narrow rather than too wide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from trainer.evaluate import metrics
from trainer.evaluate.judge import Judgement
from trainer.evaluate.statistics import DRAWS, Interval, bounds, two_sided


@dataclass(frozen=True)
class Runs:
    """One set's judgements of runs that differ by their seed, over the same items and in the same order of seeds as whatever they are compared with."""

    judgements: Sequence[Judgement]

    @property
    def set(self) -> str:
        return self.judgements[0].set

    @property
    def items(self) -> int:
        return len(self.judgements[0].items)

    @property
    def value(self) -> float:
        """The main figure, averaged over the runs."""
        return float(np.mean([run.main.value for run in self.judgements]))

    @property
    def interval(self) -> Interval:
        """The mean over the runs with its 95% interval."""
        return Interval(self.value, *bounds(self.draws))

    @cached_property
    def draws(self) -> np.ndarray:
        """[DRAWS] values of the main figure over redrawn runs and items. As many runs and items: the same rows in every draw."""
        count = len(self.judgements)
        # The runs are redrawn alike for every set, for they are the same runs; the items of each set are its own.
        picks = np.random.default_rng(0).integers(count, size=(DRAWS, count))
        rows = np.random.default_rng(1)
        values = np.empty(DRAWS)
        for i in range(DRAWS):
            taken = rows.integers(self.items, size=self.items)
            by_run = {run: _value(self.judgements[run], taken) for run in dict.fromkeys(picks[i].tolist())}
            values[i] = np.mean([by_run[run] for run in picks[i].tolist()])
        return values


def difference(ours: Sequence[Runs], theirs: Sequence[Runs]) -> tuple[Interval, float]:
    """Ours minus theirs, averaged over sets, with interval and two-sided p-value; a Runs a set, in the same order.

    Raises ValueError where the two were not judged over the same items by as many runs.
    """
    for one, other in zip(ours, theirs, strict=True):
        if (one.set, one.items, len(one.judgements)) != (other.set, other.items, len(other.judgements)):
            raise ValueError(f"{one.set}: runs over other items, or not as many of them, cannot be compared")
    apart = np.mean([one.draws - other.draws for one, other in zip(ours, theirs, strict=True)], axis=0)
    value = float(np.mean([one.value - other.value for one, other in zip(ours, theirs, strict=True)]))
    return Interval(value, *bounds(apart)), two_sided(apart)


def _value(run: Judgement, rows: np.ndarray) -> float:
    return float(run.items[rows].mean()) if run.gold is None else metrics.spearman(run.items[rows], run.gold[rows])
