"""The data set's folder while it grows: what is in it is finished, whatever happens to the run.

    train.jsonl      a record a line, FlagEmbedding's fields first; appended and fsynced
    dropped.jsonl    what gates kept out, with the reason; likewise
    tasks.jsonl      the tasks, once stage 1 is done
    journal.jsonl    every answer of the LLM, before it is used
    manifest.json    settings, seeds, prompts, models, hashes, counts
    triplets.jsonl   the records as flat columns, for sentence-transformers; README.md, report.html, levels.svg: made at the end
"""

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer.errors import InputError
from trainer.synthesize.drafting import Outcome
from trainer.synthesize.jsonl import JsonLines, read_rows, write_text
from trainer.synthesize.records import Assignment, Drop, Task

# What makes two runs the same: a run with others of these would mix two data sets in one folder.
IDENTITY = ("settings", "provider", "encoder", "corpus")


class DatasetFolder:
    """One run at a time owns the folder; a second one is refused."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = (path / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"another run is writing {path}") from error
        self._train = JsonLines(path / "train.jsonl")
        self._dropped = JsonLines(path / "dropped.jsonl")
        self.finished: set[str] = {row["id"] for row in self.records()}
        self.kept = len(self.finished)
        self.finished |= {row["id"] for row in self.drops() if row["what"] == "record"}

    def records(self) -> Iterator[dict[str, Any]]:
        return read_rows(self.path / "train.jsonl")

    def drops(self) -> Iterator[dict[str, Any]]:
        return read_rows(self.path / "dropped.jsonl")

    def add(self, assignment: Assignment, outcome: Outcome) -> None:
        """Drops first and the record last: an assignment is finished by its record, or by the drop of its record."""
        for drop in sorted(outcome.drops, key=lambda item: item.what == "record"):
            self._dropped.append(drop.row())
        if outcome.record:
            self._train.append(outcome.record.row())
            self.kept += 1
        self.finished.add(assignment.id)

    def tasks(self) -> list[Task]:
        return [Task(**row) for row in read_rows(self.path / "tasks.jsonl")]

    def keep_tasks(self, tasks: list[Task]) -> None:
        write_text(self.path / "tasks.jsonl", "".join(json.dumps(vars(task), ensure_ascii=False) + "\n" for task in tasks))

    def manifest(self) -> dict[str, Any]:
        path = self.path / "manifest.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        write_text(self.path / "manifest.json", json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")

    def require_same_run(self, manifest: dict[str, Any]) -> None:
        """Raise InputError that names the first thing in which the folder's run differs from `manifest`."""
        earlier = self.manifest()
        for part in IDENTITY if earlier else ():
            before, now = earlier.get(part) or {}, manifest.get(part) or {}
            for key in sorted({*before, *now}):
                if before.get(key) != now.get(key):
                    raise InputError(f"{self.path} was begun with {part} {key} {before.get(key)!r}, and this run has {now.get(key)!r}: "
                                     "choose another --output, or the same settings to go on")

    def close(self) -> None:
        self._train.close()
        self._dropped.close()
        self._lock.close()
