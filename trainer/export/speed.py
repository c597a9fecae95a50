"""How many tokens a second graphs embed, measured in turns so that a busy machine slows all of them alike."""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainer.session import EncoderSession

# Batches as the server forms them: many short texts, or few long ones.
SHAPES = ((32, 16), (16, 128), (8, 256))
ROUNDS = 9
# A turn runs at least this many tokens, so that it is long against the clock.
TOKENS_PER_TURN = 2048


def tokens_per_second(graphs: Sequence[Path], threads: int, rounds: int = ROUNDS) -> list[dict[str, float]]:
    """For each graph, median tokens a second by shape ("32x16").

    On one thread the clock is the process's CPU time, which other processes do not stretch; on more it is the wall's.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    sessions = [EncoderSession(graph, threads) for graph in graphs]
    results: list[dict[str, float]] = [{} for _ in graphs]
    for texts, tokens in SHAPES:
        rows = np.random.default_rng(0).integers(1000, 20000, (texts, tokens)).tolist()
        runs = max(1, TOKENS_PER_TURN // (texts * tokens))
        seconds: list[list[float]] = [[] for _ in graphs]
        for turn in range(rounds + 1):
            for i, session in enumerate(sessions):
                start = clock()
                for _ in range(runs):
                    session.run(rows)
                if turn:  # the first one warms up
                    seconds[i].append((clock() - start) / runs)
        for i, measured in enumerate(seconds):
            results[i][f"{texts}x{tokens}"] = round(texts * tokens / statistics.median(measured))
    return results
