"""Records on disk with random access, so that a shuffle is exact and no data set need fit in memory.

A source file is read once, checked, and its good records written as plain JSON lines beside an array of their offsets:

    <folder>/<name>.jsonl      one record a line
    <folder>/<name>.offsets    int64 offsets of the lines and of the end
    <folder>/<name>.json       the source's path, SHA-256, counts and levels; written last, so it vouches for the rest

Memory: 8 bytes a record, mapped. A store whose source has not changed is used again.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from trainer.data.records import BadLine, Record, read_records
from trainer.events import emit
from trainer.recipe import Recipe

# Bad lines that are named one by one; the rest are counted.
BAD_LINES_NAMED_MAX = 20


@dataclass(frozen=True)
class SourceSummary:
    """What run.json keeps of a source."""

    path: str
    sha256: str
    records: int
    bad_lines: int
    levels: tuple[int, ...]


class RecordStore:
    """Records by number."""

    def __init__(self, folder: Path, name: str, summary: SourceSummary) -> None:
        self.summary = summary
        self._offsets = np.memmap(folder / f"{name}.offsets", dtype=np.int64, mode="r")
        self._lines = np.memmap(folder / f"{name}.jsonl", dtype=np.uint8, mode="r")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, number: int) -> Record:
        line = self._lines[self._offsets[number] : self._offsets[number + 1]].tobytes()
        fields = json.loads(line)
        return Record(**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})


def open_store(source: Path, folder: Path, name: str, bad_share_max: float = 0.01) -> RecordStore:
    """The store of `source` under `folder`, written first where there is none or the source has changed."""
    path = folder / f"{name}.json"
    digest = sha256_of(source) if source.is_file() else ""
    if path.is_file():
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["sha256"] == digest:
            return RecordStore(folder, name, SourceSummary(**{**stored, "levels": tuple(stored["levels"])}))
    folder.mkdir(parents=True, exist_ok=True)
    staged = f".{name}-{os.getpid()}"
    try:
        summary = _write(source, folder, staged, digest, bad_share_max)
        (folder / f"{staged}.json").write_text(json.dumps(asdict(summary), indent=2) + "\n", encoding="utf-8")
        path.unlink(missing_ok=True)  # it vouches for neither what was nor what will be while the two change
        for suffix in (".jsonl", ".offsets", ".json"):
            (folder / f"{staged}{suffix}").replace(folder / f"{name}{suffix}")
    finally:
        for left in folder.glob(f"{staged}.*"):
            left.unlink()
    return RecordStore(folder, name, summary)


def open_stores(recipe: Recipe) -> dict[str, RecordStore]:
    """The stores of a recipe's sources by their paths, in its order, under its output; each is named by its place and its file."""
    paths = dict.fromkeys(source.path for stage in recipe.stages for source in stage.sources)
    return {path: open_store(Path(path), Path(recipe.output) / "data", f"{number:02d}-{Path(path).name.split('.')[0]}", recipe.bad_lines_share_max)
            for number, path in enumerate(paths)}


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _write(source: Path, folder: Path, name: str, digest: str, bad_share_max: float) -> SourceSummary:
    bad: list[BadLine] = []

    def report(line: BadLine) -> None:
        bad.append(line)
        if len(bad) <= BAD_LINES_NAMED_MAX:
            emit("warning", message=f"{line.file}:{line.line}: {line.reason}; the line is left out", file=line.file, line=line.line)

    levels: set[int] = set()
    offsets = [0]
    with (folder / f"{name}.jsonl").open("wb") as lines:
        for record in read_records(source, report, bad_share_max):
            levels.update(record.levels)
            offsets.append(offsets[-1] + lines.write(json.dumps(asdict(record), ensure_ascii=False).encode() + b"\n"))
    np.array(offsets, dtype=np.int64).tofile(folder / f"{name}.offsets")
    return SourceSummary(str(source), digest, len(offsets) - 1, len(bad), tuple(sorted(levels)))
