"""What a data set's files say: counts through the gates, reasons, similarity by level. Read from disk, so a resumed run counts all of it."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trainer.synthesize.folder import DatasetFolder
from trainer.synthesize.gates import GATES


@dataclass(frozen=True)
class Level:
    """Cosines of one level's negatives to their queries."""

    level: int
    count: int
    mean: float
    low: float  # 10th percentile
    high: float  # 90th percentile


@dataclass
class Statistics:
    """`funnel` holds how many assignments were still there after each gate; `measured` and `asked` are the two level curves."""

    assignments: int = 0
    records: int = 0
    funnel: list[tuple[str, int]] = field(default_factory=list)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)  # (gate, reason) of dropped records
    asked_again: Counter[tuple[str, str]] = field(default_factory=Counter)
    negatives_dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    task_types: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    origins: Counter[str] = field(default_factory=Counter)  # written or mined
    measured: list[Level] = field(default_factory=list)
    asked: list[Level] = field(default_factory=list)
    positive: Level | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "assignments": self.assignments, "records": self.records, "funnel": dict(self.funnel),
            "dropped": _named(self.reasons), "askedAgain": _named(self.asked_again), "negativesDropped": _named(self.negatives_dropped),
            "taskTypes": dict(self.task_types), "languages": dict(self.languages), "negativeOrigins": dict(self.origins),
            "levels": [vars(level) for level in self.measured], "levelsAsAsked": [vars(level) for level in self.asked],
            "positive": vars(self.positive) if self.positive else None,
            "rises": rises(self.measured), "risesAsAsked": rises(self.asked),
        }


def read_statistics(folder: DatasetFolder) -> Statistics:
    """Count the folder's records and drops; similarities are held in memory, texts are not."""
    found = Statistics()
    measured: dict[int, list[float]] = {}
    asked: dict[int, list[float]] = {}
    positives: list[float] = []
    for row in folder.records():
        found.records += 1
        found.task_types[row["task_type"]] += 1
        found.languages[row["language"]] += 1
        positives += row["pos_similarities"]
        for level, asked_level, origin, value in zip(row["neg_levels"], row["neg_levels_asked"], row["neg_origins"], row["neg_similarities"], strict=True):
            measured.setdefault(level, []).append(value)
            asked.setdefault(asked_level, []).append(value)
            found.origins["written" if origin == "written" else "mined"] += 1
    counters = {"record": found.reasons, "attempt": found.asked_again, "negative": found.negatives_dropped}
    for row in folder.drops():
        counters[row["what"]][row["gate"], row["reason"]] += 1
    found.measured, found.asked = _levels(measured), _levels(asked)
    found.positive = _level(0, positives) if positives else None
    found.assignments = found.records + found.reasons.total()
    left = found.assignments
    for gate in GATES:
        left -= sum(count for (name, _), count in found.reasons.items() if name == gate)
        found.funnel.append((gate, left))
    return found


def rises(levels: list[Level]) -> bool:
    """Whether the mean similarity is higher at every level than at the one before."""
    return bool(levels) and all(easier.mean < harder.mean for easier, harder in zip(levels, levels[1:], strict=False))


def _levels(values: dict[int, list[float]]) -> list[Level]:
    return [_level(level, values[level]) for level in sorted(values)]


def _level(level: int, values: list[float]) -> Level:
    low, high = np.percentile(values, [10, 90])
    return Level(level, len(values), round(float(np.mean(values)), 4), round(float(low), 4), round(float(high), 4))


def _named(counter: Counter[tuple[str, str]]) -> dict[str, int]:
    return {f"{gate}: {reason}": count for (gate, reason), count in counter.most_common()}
