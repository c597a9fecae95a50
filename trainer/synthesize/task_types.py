"""The task types of arXiv 2509.00842: four asymmetric ones, named by the lengths of query and document, and semantic similarity."""

import json
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import InputError
from trainer.synthesize.records import Task

# Words a side may have. A sentence is short, a paragraph long; the two overlap, for a headnote may be either.
SHORT = (2, 60)
LONG = (25, 600)


@dataclass(frozen=True)
class TaskType:
    """Bounds in words of both sides; `symmetric` means that query and document say the same."""

    query: tuple[int, int]
    document: tuple[int, int]
    symmetric: bool = False
    describes: str = ""


TASK_TYPES = {
    "short-long": TaskType(SHORT, LONG, describes="a short query (a question, keywords) finds a paragraph"),
    "long-short": TaskType(LONG, SHORT, describes="a paragraph (a report, a description) finds the short text that names or sums it up"),
    "short-short": TaskType(SHORT, SHORT, describes="a short query finds a short text: a sentence, a title, a phrase"),
    "long-long": TaskType(LONG, LONG, describes="a paragraph finds another paragraph that answers or continues it"),
    "sts": TaskType(SHORT, SHORT, symmetric=True, describes="a sentence finds another sentence of the same meaning in other words"),
}


def read_tasks(path: Path) -> list[Task]:
    """Tasks from JSON lines of {type, instruction}; raises InputError that names file and line."""
    tasks = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the tasks file {path} cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            type_, instruction = row["type"], str(row["instruction"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} line {number} must be JSON with type and instruction") from error
        if type_ not in TASK_TYPES:
            raise InputError(f"{path} line {number}: type {type_!r} is none of {', '.join(TASK_TYPES)}")
        tasks.append(Task(f"{path.stem}-{number}", type_, instruction))
    if not tasks:
        raise InputError(f"the tasks file {path} is empty")
    return tasks
