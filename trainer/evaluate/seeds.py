"""Runs of one recipe that differ by their seed alone: the mean figure, and how sure it is over items and over seeds.

A two-level percentile bootstrap: each draw takes runs with replacement and items with replacement, the same rows and the same
runs for whatever is compared, so differences are paired by item and by seed. Three seeds say little about their own spread;
the interval is wider than that of one run, and still too narrow rather than too wide.
"""

from collections.abc import Sequence

import numpy as np

from trainer.evaluate import metrics
from trainer.evaluate.judge import Judgement
from trainer.evaluate.statistics import DRAWS, Interval, bounds, two_sided


def mean_value(runs: Sequence[Judgement]) -> float:
    """The main figure, averaged over the runs."""
    return float(np.mean([run.main.value for run in runs]))


def draws(runs: Sequence[Judgement], seed: int = 0) -> np.ndarray:
    """[DRAWS] values of the main figure over redrawn runs and items. Same number of runs and items: same rows in every draw."""
    picks = np.random.default_rng([seed, 0]).integers(len(runs), size=(DRAWS, len(runs)))
    rows = np.random.default_rng([seed, 1])
    values = np.empty(DRAWS)
    for i in range(DRAWS):
        taken = rows.integers(len(runs[0].items), size=len(runs[0].items))
        by_run = {run: _value(runs[run], taken) for run in set(picks[i].tolist())}
        values[i] = np.mean([by_run[run] for run in picks[i].tolist()])
    return values


def interval(runs: Sequence[Judgement]) -> Interval:
    """The mean over the runs with its 95% interval."""
    return Interval(mean_value(runs), *bounds(draws(runs)))


def difference(ours: Sequence[Sequence[Judgement]], theirs: Sequence[Sequence[Judgement]]) -> tuple[Interval, float]:
    """Ours minus theirs, averaged over sets, with interval and two-sided p-value; [set][run], sets and runs in the same order.

    Raises ValueError where the two were not judged over the same items by as many runs.
    """
    apart, value = np.zeros(DRAWS), 0.0
    for one, other in zip(ours, theirs, strict=True):
        if len(one) != len(other) or any(run.set != one[0].set or len(run.items) != len(one[0].items) for run in [*one, *other]):
            raise ValueError(f"{one[0].set}: runs over other items, or not as many of them, cannot be compared")
        # The runs are redrawn alike for every set, for they are the same runs; the items of each set are its own.
        apart += (draws(one) - draws(other)) / len(ours)
        value += (mean_value(one) - mean_value(other)) / len(ours)
    return Interval(value, *bounds(apart)), two_sided(apart)


def _value(run: Judgement, rows: np.ndarray) -> float:
    return float(run.items[rows].mean()) if run.gold is None else metrics.spearman(run.items[rows], run.gold[rows])
