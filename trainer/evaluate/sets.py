"""Evaluation sets as files: BEIR's layout for retrieval, and tab-separated files for the rest; each file gzipped or not.

| kind | what a folder holds |
|---|---|
| retrieval | corpus.jsonl {_id, title, text}, queries.jsonl {_id, text}, qrels/test.tsv (query-id, corpus-id, score) |
| sts | test.tsv (or dev.tsv, see `split`): score, sentence1, sentence2 |
| classification | train.tsv and test.tsv: label, text |
| clustering | all.tsv: label, text |

`<folder>:<split>` takes another split than test.
"""

import csv
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.errors import InputError
from trainer.gzipped import opened


@dataclass(frozen=True)
class RetrievalSet:
    name: str
    corpus: dict[str, str]  # id -> title and text
    queries: dict[str, str]
    relevance: dict[str, dict[str, int]]  # query id -> corpus id -> grade above 0


@dataclass(frozen=True)
class SimilaritySet:
    name: str
    left: list[str]
    right: list[str]
    scores: list[float]


@dataclass(frozen=True)
class ClassificationSet:
    name: str
    train: list[tuple[str, str]]  # label, text
    test: list[tuple[str, str]]


@dataclass(frozen=True)
class ClusteringSet:
    name: str
    texts: list[tuple[str, str]]  # label, text


EvaluationSet = RetrievalSet | SimilaritySet | ClassificationSet | ClusteringSet


def load_set(place: str, queries_max: int = 0, seed: int = 0, documents_max: int = 0) -> EvaluationSet:
    """The set at `place` (`<folder>` or `<folder>:<split>`).

    `queries_max` above 0 draws that many queries, pairs or test texts; `documents_max` above 0 keeps the documents judged for those
    queries and fills up by a draw to that many. Fewer documents make a set easier: compare only figures made alike.
    """
    path_text, _, split = place.partition(":")
    folder, split, name = Path(path_text), split or "test", set_name(place)
    draw = _Draw(queries_max, seed)
    if _find(folder / "corpus.jsonl"):
        return _smaller(_retrieval(folder, split, name, draw), documents_max, seed)
    if _find(folder / "all.tsv"):
        return ClusteringSet(name, draw(_labelled(folder / "all.tsv")))
    if _find(folder / f"{split}.tsv"):
        header = next(_rows(folder / f"{split}.tsv"))
        if header[:3] == ["score", "sentence1", "sentence2"]:
            rows = draw(list(_rows(folder / f"{split}.tsv"))[1:])
            return SimilaritySet(name, [row[1] for row in rows], [row[2] for row in rows], [float(row[0]) for row in rows])
        return ClassificationSet(name, _labelled(folder / "train.tsv"), draw(_labelled(folder / f"{split}.tsv")))
    raise InputError(f"{folder} is no evaluation set: it holds neither corpus.jsonl nor {split}.tsv nor all.tsv")


def set_name(place: str) -> str:
    """What the set at `place` is called in reports: its folder's name, and its split where that is another than test."""
    path_text, _, split = place.partition(":")
    return Path(path_text).name + (f":{split}" if split not in ("", "test") else "")


class _Draw:
    """A seeded sample in the order of the original."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed

    def __call__(self, items: list) -> list:
        if not self.count or len(items) <= self.count:
            return items
        return [items[i] for i in sorted(random.Random(self.seed).sample(range(len(items)), self.count))]


def _retrieval(folder: Path, split: str, name: str, draw: _Draw) -> RetrievalSet:
    corpus = {line["_id"]: f"{line.get('title') or ''} {line['text']}".strip() for line in _json_lines(folder / "corpus.jsonl")}
    queries = {line["_id"]: line["text"] for line in _json_lines(folder / ("queries.jsonl" if split == "test" else f"queries_{split}.jsonl"))}
    relevance: dict[str, dict[str, int]] = {}
    for query, document, grade in list(_rows(folder / "qrels" / f"{split}.tsv"))[1:]:
        if int(grade) > 0 and query in queries and document in corpus:
            relevance.setdefault(query, {})[document] = int(grade)
    judged = draw([query for query in queries if query in relevance])
    if not judged:
        raise InputError(f"{folder} has no judged query in qrels/{split}.tsv")
    return RetrievalSet(name, corpus, {query: queries[query] for query in judged}, relevance)


def _smaller(data: RetrievalSet, documents_max: int, seed: int) -> RetrievalSet:
    if not documents_max or len(data.corpus) <= documents_max:
        return data
    judged = {document for query in data.queries for document in data.relevance[query]}
    others = [document for document in data.corpus if document not in judged]
    kept = judged | set(random.Random(seed).sample(others, min(len(others), max(0, documents_max - len(judged)))))
    return RetrievalSet(data.name, {id_: text for id_, text in data.corpus.items() if id_ in kept}, data.queries, data.relevance)


def _labelled(path: Path) -> list[tuple[str, str]]:
    rows = [(row[0], row[1]) for row in _rows(path)]
    return rows[1:] if rows and rows[0] == ("label", "text") else rows


def _find(path: Path) -> Path | None:
    """`path`, or it gzipped."""
    return next((found for found in (path, path.with_name(path.name + ".gz")) if found.is_file()), None)


def _lines(path: Path) -> Iterator[str]:
    found = _find(path)
    if not found:
        raise InputError(f"there is no {path}")
    with opened(found, newline="") as lines:
        yield from lines


def _rows(path: Path) -> Iterator[list[str]]:
    return (row for row in csv.reader(_lines(path), delimiter="\t", quoting=csv.QUOTE_NONE) if row)


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in _lines(path) if line.strip())
