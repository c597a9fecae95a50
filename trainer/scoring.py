"""Give records a cross-encoder's scores of their positives and negatives, for distillation.

    python -m trainer score --cross-encoder FOLDER --data mined.jsonl --output scored.jsonl

A cross-encoder reads query and text together and is a better judge than any embedder of its size. FOLDER is a Hugging Face or
sentence-transformers folder of a sequence classifier with one output. The records keep all their fields; `pos_scores` and
`neg_scores` are what the losses margin_mse and soft_labels read. The scores are the model's raw
outputs (logits): their differences matter, not their scale. A stopped run goes on with the same command.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from sentence_transformers import CrossEncoder

from trainer.data.records import parse_record
from trainer.errors import InputError
from trainer.events import emit
from trainer.gzipped import opened
from trainer.interruption import Interrupted, StopSignal

BLOCK_RECORDS = 64


class PairScorer(Protocol):
    """Anything that scores texts for a query; higher is more relevant."""

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]: ...


class CrossEncoderScorer:
    """A sequence classifier with one output, in PyTorch."""

    def __init__(self, folder: Path, max_tokens: int = 512, batch: int = 32, device: str | None = None) -> None:
        try:
            self.model = CrossEncoder(str(folder), max_length=max_tokens, device=device, local_files_only=True)
        except (OSError, ValueError) as error:
            raise InputError(f"{folder} is no cross-encoder: {str(error).splitlines()[0]}") from error
        if self.model.num_labels != 1:
            raise InputError(f"{folder} has {self.model.num_labels} outputs: a cross-encoder that scores relevance has one")
        self.batch = batch

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        scores = self.model.predict(list(pairs), batch_size=self.batch, activation_fn=torch.nn.Identity(), show_progress_bar=False)
        return [float(score) for score in scores]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cross-encoder", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="JSON lines of records, gzipped or not")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE")
    parser.add_argument("--max-tokens", type=int, default=512, help="of query and text together")
    parser.add_argument("--batch", type=int, default=32, help="pairs at a time")


def run(arguments: argparse.Namespace) -> None:
    if arguments.output.exists():
        raise InputError(f"{arguments.output} exists already: choose another --output")
    if not arguments.data.is_file():
        raise InputError(f"there is no data at {arguments.data}")
    scorer = CrossEncoderScorer(arguments.cross_encoder, arguments.max_tokens, arguments.batch)
    # Of these records by this model, or what an earlier run left would be taken for it.
    mark = hashlib.sha256(f"{arguments.data.resolve()} {arguments.cross_encoder.resolve()} {arguments.max_tokens}".encode()).hexdigest()[:12]
    staging = arguments.output.with_name(f".{arguments.output.name}.{mark}")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    with StopSignal() as stop:
        records = score_file(arguments.data, staging, scorer, stop)
    staging.replace(arguments.output)
    emit("done", file=str(arguments.output), records=records)


def score_file(data: Path, output: Path, scorer: PairScorer, stop: StopSignal) -> int:
    """Append the scored records of `data` to `output`, after those that are there already; returns how many there are."""
    done = _whole_lines(output)
    records = _good_records(data, done)
    with output.open("a", encoding="utf-8") as lines:
        while block := list(islice(records, BLOCK_RECORDS)):
            if stop.asked:
                raise Interrupted(f"stopped after {done} records; the same command goes on")
            scored = _scored(block, scorer)
            lines.write("".join(json.dumps(fields, ensure_ascii=False) + "\n" for fields in scored))
            lines.flush()
            done += len(scored)
            emit("progress", stage="score", step=done)
    return done


def _scored(block: list[dict[str, Any]], scorer: PairScorer) -> list[dict[str, Any]]:
    records = [parse_record(fields) for fields in block]
    pairs = [(record.query, text) for record in records for text in (record.positive, *record.negatives)]
    scores = iter(scorer.score(pairs))
    return [{**fields, "pos_scores": [round(next(scores), 5)], "neg_scores": [round(next(scores), 5) for _ in record.negatives]}
            for fields, record in zip(block, records, strict=True)]


def _good_records(data: Path, skip: int) -> Iterator[dict[str, Any]]:
    """Fields of the good records, without the first `skip`; bad lines are named and left out."""
    seen = 0
    with opened(data, errors="surrogateescape") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                fields = json.loads(line)
                parse_record(fields)
            except ValueError as error:
                emit("warning", message=f"{data}:{number}: {error}; the line is left out", file=str(data), line=number)
                continue
            seen += 1
            if seen > skip:
                yield fields


def _whole_lines(path: Path) -> int:
    """How many lines of `path` are whole; a torn last one is cut off."""
    if not path.is_file():
        return 0
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        path.write_bytes(whole)
    return whole.count(b"\n")
