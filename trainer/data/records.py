"""Training records read from files, line by line; a malformed line is named by file and line and left out, within a bound.

JSON lines (.jsonl, .json, gzipped or not), one record a line, in either of two dialects:

    {"query": "...", "positive": "...", "negatives": ["..."], "score": 3.2}
    {"query": "...", "pos": ["..."], "neg": ["..."], "neg_levels": [1, 2], "pos_scores": [...], "neg_scores": [...], "prompt": "..."}

the second being FlagEmbedding's. `score` is the gold similarity of an STS pair; pos_scores and neg_scores are a teacher's;
neg_levels are hardness levels from 1, the easiest. A .tsv file has a header and the columns score, sentence1, sentence2.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.errors import InputError
from trainer.gzipped import opened

# Lines that may be bad whatever the file's length; beyond them the share decides.
BAD_LINES_ALWAYS_FORGIVEN = 10
TEXT_CHARACTERS_MAX = 1_000_000
# Valid in a JSON escape, but in no UTF-8.
SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Record:
    """One training example. `levels` has an entry a negative; teacher scores are absent or complete."""

    query: str
    positive: str
    negatives: tuple[str, ...] = ()
    levels: tuple[int, ...] = ()
    score: float | None = None
    positive_score: float | None = None
    negative_scores: tuple[float, ...] = ()
    prompt: str = ""


@dataclass(frozen=True)
class BadLine:
    """Where and why a line was left out."""

    file: str
    line: int
    reason: str


def read_records(path: Path, on_bad_line: Callable[[BadLine], None], bad_share_max: float = 0.01) -> Iterator[Record]:
    """Records of `path` in their order; bad ones go to `on_bad_line`.

    Raises InputError where the file is missing, no line of it is good, or more than ten lines and more than `bad_share_max`
    of those read are bad.
    """
    if not path.is_file():
        raise InputError(f"there is no training data at {path}")
    parse = _parse_sts_row if ".tsv" in path.suffixes else _parse_json_line
    good = bad = 0
    for number, line in _numbered_lines(path):
        try:
            record = parse(line)
            good += 1
            yield record
        except ValueError as error:
            bad += 1
            on_bad_line(BadLine(str(path), number, str(error)))
            if bad > BAD_LINES_ALWAYS_FORGIVEN and bad > bad_share_max * (good + bad):
                raise InputError(f"{path} has {bad} bad lines in its first {good + bad}, the last one line {number} ({error}); "
                                 f"more than {bad_share_max:.0%} are not forgiven") from error
    if not good:
        raise InputError(f"{path} holds no training record" + (f": all of its {bad} lines are bad" if bad else ""))


def parse_record(fields: Any) -> Record:
    """A record of either dialect; raises ValueError that says what is wrong."""
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object")
    positives = fields.get("pos", fields.get("positive"))
    positive = positives[0] if isinstance(positives, list) and positives else positives
    negatives = fields.get("neg", fields.get("negatives", fields.get("negative", [])))
    negatives = [negatives] if isinstance(negatives, str) else _list(negatives or [], "negatives")
    texts = {"query": fields.get("query"), "positive": positive, **{f"negative {i + 1}": text for i, text in enumerate(negatives)}}
    for name, text in texts.items():
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{name} is missing, empty or no text")
        if len(text) > TEXT_CHARACTERS_MAX:
            raise ValueError(f"{name} has {len(text)} characters, more than {TEXT_CHARACTERS_MAX}")
        if SURROGATE.search(text):
            raise ValueError(f"{name} holds half of a surrogate pair, which is no character")
    if positive in negatives:
        raise ValueError("the positive is equal to one of its negatives")
    return Record(texts["query"], positive, tuple(negatives), _levels(fields, len(negatives)), _number(fields, "score"),
                  *_teacher_scores(fields, len(negatives)), str(fields.get("prompt") or ""))


def _numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers from 1. A byte that is no UTF-8 becomes the line's fault, not the file's."""
    with opened(path, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip() and not (number == 1 and ".tsv" in path.suffixes):
                yield number, line.decode("utf-8", errors="surrogateescape").rstrip("\r\n")


def _parse_json_line(line: str) -> Record:
    _refuse_broken_text(line)
    return parse_record(json.loads(line))


def _parse_sts_row(line: str) -> Record:
    _refuse_broken_text(line)
    row = next(csv.reader([line], delimiter="\t", quoting=csv.QUOTE_NONE))
    if len(row) != 3:
        raise ValueError(f"{len(row)} columns instead of score, sentence1, sentence2")
    return parse_record({"query": row[1], "positive": row[2], "score": float(row[0])})


def _refuse_broken_text(line: str) -> None:
    if any("\udc80" <= character <= "\udcff" for character in line):
        raise ValueError("not valid UTF-8")


def _levels(fields: dict[str, Any], count: int) -> tuple[int, ...]:
    """neg_levels, or level 1 for each where the file has none."""
    levels = fields.get("neg_levels")
    if levels is None:
        return (1,) * count
    if len(_list(levels, "neg_levels")) != count or not all(isinstance(level, int) and level >= 1 for level in levels):
        raise ValueError(f"neg_levels must be {count} whole numbers from 1, one a negative")
    return tuple(levels)


def _teacher_scores(fields: dict[str, Any], count: int) -> tuple[float | None, tuple[float, ...]]:
    positive, negative = fields.get("pos_scores"), fields.get("neg_scores")
    if not positive or negative is None:
        return None, ()
    if len(_list(negative, "neg_scores")) != count or not all(_is_number(score) for score in negative):
        raise ValueError(f"neg_scores must be {count} numbers, one a negative")
    if not _is_number(_list(positive, "pos_scores")[0]):
        raise ValueError("pos_scores must be a number, in a list")
    return float(positive[0]), tuple(float(score) for score in negative)


def _list(value: Any, name: str) -> list:
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list, not {value!r}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(fields: dict[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value is not None and not _is_number(value):
        raise ValueError(f"{name} must be a number, not {value!r}")
    return None if value is None else float(value)
