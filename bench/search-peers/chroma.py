"""Chroma's persistent client on the vectors of bench/search.ts: argv[1] is the folder with base.f32, queries.f32, truth.json."""

import json
import sys
import tempfile
import time

import chromadb
import numpy as np

K = 10
LADDER = [10, 16, 32, 64, 128, 256]


def main(folder: str) -> None:
    given = json.load(open(f"{folder}/truth.json"))
    dimensions, truth = given["dimensions"], given["truth"]
    base = np.fromfile(f"{folder}/base.f32", dtype="<f4").reshape(-1, dimensions)
    queries = np.fromfile(f"{folder}/queries.f32", dtype="<f4").reshape(-1, dimensions)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        client = chromadb.PersistentClient(path=home, settings=chromadb.Settings(anonymized_telemetry=False))
        hnsw = {"space": "ip", "max_neighbors": 16, "ef_construction": 200, "ef_search": LADDER[0]}
        collection = client.create_collection("bench", configuration={"hnsw": hnsw}, embedding_function=None)
        started = time.perf_counter()
        for first in range(0, len(base), 500):
            rows = base[first : first + 500]
            collection.add(ids=[str(first + n) for n in range(len(rows))], embeddings=rows)
        collection.query(query_embeddings=queries[:1], n_results=K, include=[])
        rate = len(base) / (time.perf_counter() - started)
        best = {}
        for _ in range(given["rounds"]):
            for ef in LADDER:
                collection.modify(configuration={"hnsw": {"ef_search": ef}})
                collection.query(query_embeddings=queries[:1], n_results=K, include=[])
                point = measure(collection, queries, truth, ef)
                if ef not in best or point["queriesPerSecond"] > best[ef]["queriesPerSecond"]:
                    best[ef] = point
        print(json.dumps({"version": chromadb.__version__, "vectorsPerSecond": rate, "points": list(best.values())}))


def measure(collection, queries, truth, ef: int) -> dict:
    times, recalls = [], []
    for query, right in zip(queries, truth):
        started = time.perf_counter()
        found = collection.query(query_embeddings=[query], n_results=K, include=[])["ids"][0]
        times.append((time.perf_counter() - started) * 1000)
        recalls.append(len(set(found) & set(right)) / len(right))
    return {
        "parameter": ef,
        "recallAt10": float(np.mean(recalls)),
        "queriesPerSecond": 1000 / float(np.mean(times)),
        "p50Ms": float(np.quantile(times, 0.5)),
        "p99Ms": float(np.quantile(times, 0.99)),
    }


main(sys.argv[1])
