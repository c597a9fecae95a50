"""The Python side of a driver: questions are lines of JSON on standard input, answers lines on descriptor 3."""

import base64
import json
import os
import sys
import time
from collections.abc import Callable

import numpy as np

Embed = Callable[[list[str], int], np.ndarray]


def answer(question: dict, embed: Embed) -> dict:
    """Time `embed(texts, batch_size)`, which returns float32 [texts, dimensions], for all texts or for each alone."""
    texts, batch_size = question["texts"], question["batchSize"]
    groups = [[text] for text in texts] if question.get("each") else [texts]
    seconds, vectors = [], []
    for group in groups:
        start = time.perf_counter()
        vectors.append(embed(group, batch_size))
        seconds.append(time.perf_counter() - start)
    result: dict = {"seconds": seconds}
    if question.get("vectors"):
        rows = np.ascontiguousarray(np.concatenate(vectors), dtype="<f4")
        result["vectors"] = base64.b64encode(rows.tobytes()).decode()
    return result


def serve(load: Callable[[], Embed]) -> None:
    """Load the library, say so, then answer until standard input ends."""
    with os.fdopen(3, "w", buffering=1) as out:
        embed = load()
        print(json.dumps({"seconds": []}), file=out)
        for line in sys.stdin:
            print(json.dumps(answer(json.loads(line), embed)), file=out)
