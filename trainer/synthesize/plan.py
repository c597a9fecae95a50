"""Which assignments a run makes, in which order: a function of the seed, the passages and the tasks, and of nothing else."""

import hashlib
import random
from collections.abc import Iterator, Sequence

from trainer.synthesize.providers.provider import Provider
from trainer.synthesize.records import Assignment, Passage, Task


def grounded(passages: Sequence[Passage], tasks: Sequence[Task], provider: Provider, seed: int, rounds: int) -> Iterator[Assignment]:
    """Every passage once a round, shuffled, with a task that suits it; task types take turns as evenly as the passages allow."""
    for round_ in range(rounds):
        order = list(passages)
        random.Random(f"{seed}/{round_}").shuffle(order)
        used = dict.fromkeys((task.type for task in tasks), 0)
        for passage in order:
            suiting = [task for task in tasks if provider.suits(task, passage)]
            if not suiting:
                continue
            id_ = f"r{round_}-{passage.id}"
            least = min(used[task.type] for task in suiting)
            task = random.Random(f"{seed}/{id_}").choice([task for task in suiting if used[task.type] == least])
            used[task.type] += 1
            yield Assignment(id_, task, passage, _seed(seed, id_))


def brainstormed(tasks: Sequence[Task], seed: int, count: int) -> Iterator[Assignment]:
    """`count` assignments without passages, every task in turn."""
    for i in range(count):
        id_ = f"b{i}"
        yield Assignment(id_, tasks[i % len(tasks)], None, _seed(seed, id_))


def _seed(seed: int, id_: str) -> int:
    """A positive 31-bit integer, which every endpoint takes."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{id_}".encode()).digest()[:4], "big") >> 1
