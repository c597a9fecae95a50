"""A random sample of a stream of rows that is too large to hold."""

import random
from collections.abc import Iterable
from typing import Any


def sample_rows(rows: Iterable[dict[str, Any]], count: int, seed: int) -> list[dict[str, Any]]:
    """`count` rows, each row as likely as any other (reservoir sampling), in the order of the stream."""
    rng = random.Random(seed)
    kept: list[tuple[int, dict[str, Any]]] = []
    for i, row in enumerate(rows):
        if i < count:
            kept.append((i, row))
        elif (place := rng.randrange(i + 1)) < count:
            kept[place] = (i, row)
    return [row for _, row in sorted(kept, key=lambda item: item[0])]
