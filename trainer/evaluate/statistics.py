"""How sure a figure is: bootstrap intervals, and paired tests between two encoders on the same items.

Items are queries, pairs, test texts or clustering rounds. The same draws are used for every encoder, so that differences are
paired. A percentile bootstrap with 2,000 draws; p-values are two-sided: the share of draws on the other side of zero, doubled.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

DRAWS = 2000


@dataclass(frozen=True)
class Interval:
    """A value with its 95% interval."""

    value: float
    low: float
    high: float


def mean_interval(items: np.ndarray, seed: int = 0) -> Interval:
    """Mean of items [n] with the interval of its bootstrap."""
    means = bootstrap(len(items), lambda rows: items[rows].mean(), seed)
    return Interval(float(items.mean()), *bounds(means))


def statistic_interval(count: int, statistic: Callable[[np.ndarray], float], seed: int = 0) -> Interval:
    """A statistic of all `count` items with its interval; `statistic` takes the rows drawn."""
    return Interval(statistic(np.arange(count)), *bounds(bootstrap(count, statistic, seed)))


def bootstrap(count: int, statistic: Callable[[np.ndarray], float], seed: int = 0) -> np.ndarray:
    """[draws] values of the statistic over samples of `count` items with replacement."""
    generator = np.random.default_rng(seed)
    return np.array([statistic(generator.integers(count, size=count)) for _ in range(DRAWS)])


def paired_difference(count: int, difference: Callable[[np.ndarray], float], seed: int = 0) -> tuple[Interval, float]:
    """The difference of two encoders over the same items, its interval, and a two-sided p-value of no difference."""
    draws = bootstrap(count, difference, seed)
    return Interval(difference(np.arange(count)), *bounds(draws)), two_sided(draws)


def two_sided(draws: np.ndarray) -> float:
    """p-value of no difference, from bootstrap draws of the difference."""
    # One is added so that no finite number of draws claims a p-value of 0.
    tail = min((draws <= 0).sum(), (draws >= 0).sum())
    return min(1.0, 2 * (int(tail) + 1) / (DRAWS + 1))


def bounds(draws: np.ndarray) -> tuple[float, float]:
    """The middle 95% of bootstrap draws."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)
