"""Judge the quantizations of one model: parity with PyTorch, what int8 loses, batch invariance, speed.

Writes the figures with the machine and the versions to --output (JSON), and prints them as a table; with --page the table
also replaces the one between the markers in that Markdown file.
"""

import argparse
import json
import os
import platform
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from trainer.encoder import load_encoder
from trainer.errors import InputError
from trainer.evaluate.encoders import VersionEncoder
from trainer.evaluate.metrics import ndcg_at, spearman, top_documents
from trainer.evaluate.sets import RetrievalSet, SimilaritySet, load_set
from trainer.events import emit
from trainer.export.parity import measure_parity
from trainer.export.speed import SHAPES, tokens_per_second

MARKERS = ("<!-- quantization table -->", "<!-- end of quantization table -->")
LIBRARIES = ("onnxruntime", "onnx", "torch", "transformers")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="the Hugging Face folder they were exported from")
    parser.add_argument("--version", type=Path, action="append", required=True, metavar="FOLDER", help="a model version; the first is the standard of the others")
    parser.add_argument("--eval-data", type=Path, required=True, metavar="FOLDER", help="holds stsb and nq_oracle (tsv and BEIR layout)")
    parser.add_argument("--queries-max", type=int, default=0, help="judge on this many queries and pairs only (default: all)")
    parser.add_argument("--rounds", type=int, default=9, help="speed is the median of this many turns")
    parser.add_argument("--output", type=Path, default=Path("bench/results/quantization.json"))
    parser.add_argument("--page", type=Path, help="a Markdown file with the table's markers, for example docs/model-export.md")


def run(arguments: argparse.Namespace) -> None:
    for folder in arguments.version:
        if not (folder / "manifest.json").is_file():
            raise InputError(f"{folder} is no model version: it has no manifest.json")
    sets = [load_set(str(arguments.eval_data / name), arguments.queries_max) for name in ("stsb", "nq_oracle")]
    graphs = [folder / "model.onnx" for folder in arguments.version]
    rows = [_describe(arguments.model, folder) for folder in arguments.version]
    standard: np.ndarray | None = None
    for row, folder in zip(rows, arguments.version, strict=True):
        scores, vectors = _judge(folder, sets)
        standard = vectors if standard is None else standard
        cosines = np.einsum("td,td->t", vectors, standard, dtype=np.float64)
        row |= scores | {"evaluationTexts": len(cosines), "cosineToFirst": {
            "mean": cosines.mean(), "percentile1": np.percentile(cosines, 1), "worst": cosines.min(), "shareBelow0.998": (cosines < 0.998).mean()}}
        emit("judged", **{key: row[key] for key in ("version", "stsbSpearman", "nqOracleNdcgAt10")})
    for threads in (1, 2):
        for row, speeds in zip(rows, tokens_per_second(graphs, threads, arguments.rounds), strict=True):
            row[f"tokensPerSecond{threads}Threads"] = speeds
    report = {"machine": _machine(), "date": date.today().isoformat(), "versions": rows}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    table = markdown_table(rows)
    if arguments.page:
        _replace_table(arguments.page, table)
    emit("done", output=str(arguments.output), table=table)


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """One line a version; speeds at 32 x 16, 16 x 128 and 8 x 256 tokens."""
    lines = [
        "| version | MB | to PyTorch: cosine mean / worst | max difference | alone and in a batch: worst cosine | to float32 over the "
        "evaluation texts: mean / 1st percentile / worst | STS-B | nq_oracle nDCG@10 | tokens/s, 1 thread | tokens/s, 2 threads |",
        "|" + "---|" * 10,
    ]
    for row in rows:
        parity, cosine = row["parity"], row["cosineToFirst"]
        speeds = [" / ".join(f"{row[f'tokensPerSecond{threads}Threads'][f'{b}x{t}']:,}" for b, t in SHAPES) for threads in (1, 2)]
        lines.append(
            f"| {row['version']} | {row['bytes'] / 1e6:.1f} | {parity['mean_cosine']:.5f} / {parity['min_cosine']:.5f} | {parity['max_difference']:.1e} "
            f"| {parity['batch_min_cosine']:.7f} | {cosine['mean']:.5f} / {cosine['percentile1']:.5f} / {cosine['worst']:.5f} "
            f"| {row['stsbSpearman']:.2f} | {row['nqOracleNdcgAt10']:.2f} | {speeds[0]} | {speeds[1]} |")
    return "\n".join(lines)


def _describe(model: Path, folder: Path) -> dict[str, Any]:
    """A version's name, size and parity with PyTorch under its own gamma."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    emit("progress", stage="parity", version=manifest["version"])
    parity = measure_parity(load_encoder(model), folder / "model.onnx", manifest["pooling"]["gamma"])
    return {"version": manifest["version"], "fingerprint": manifest["fingerprint"], "bytes": manifest["files"]["model.onnx"]["bytes"],
            "pooling": manifest["pooling"], "parity": parity.figures()}


def _judge(folder: Path, sets: list[Any]) -> tuple[dict[str, float], np.ndarray]:
    """STS Spearman and retrieval nDCG@10 (both x 100), and the vectors of all texts [texts, dimensions]."""
    encoder = VersionEncoder(folder)
    scores: dict[str, float] = {}
    vectors = []
    for judged in sets:
        if isinstance(judged, SimilaritySet):
            left, right = encoder.encode(judged.left, ""), encoder.encode(judged.right, "")
            scores["stsbSpearman"] = 100 * spearman((left * right).sum(axis=1), np.array(judged.scores))
        elif isinstance(judged, RetrievalSet):
            left, right = encoder.encode(list(judged.queries.values()), "query"), encoder.encode(list(judged.corpus.values()), "document")
            names = list(judged.corpus)
            found = top_documents(left, right, 10)
            scores["nqOracleNdcgAt10"] = 100 * float(np.mean([
                ndcg_at(10, [names[j] for j in ranking], judged.relevance[query]) for query, ranking in zip(judged.queries, found, strict=True)]))
        vectors += [left, right]
    return scores, np.concatenate(vectors)


def _machine() -> dict[str, Any]:
    """What the figures were measured on."""
    info = Path("/proc/cpuinfo")
    models = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return {"cpu": models[0] if models else platform.processor(), "cores": os.cpu_count(), "system": platform.system(),
            "python": platform.python_version(), "loadAverage": round(os.getloadavg()[0], 1), **{name: version(name) for name in LIBRARIES}}


def _replace_table(page: Path, table: str) -> None:
    """Put `table` between the markers of `page`."""
    text = page.read_text(encoding="utf-8")
    begin, end = (text.find(marker) for marker in MARKERS)
    if begin < 0 or end < begin:
        raise InputError(f"{page} has no markers {MARKERS[0]} and {MARKERS[1]}")
    page.write_text(text[: begin + len(MARKERS[0])] + "\n" + table + "\n" + text[end:], encoding="utf-8")
