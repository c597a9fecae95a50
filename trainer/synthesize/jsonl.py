"""An append-only file of JSON lines in which a finished line survives a kill.

Each line is written and fsynced before `append` returns. A kill can tear the last line only; opening the file cuts a torn
tail off, so that the next line starts clean.
"""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class JsonLines:
    """Rows of `path`, appended by any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _cut_torn_tail(path)
        self._file = path.open("ab")
        self._lock = threading.Lock()

    def append(self, row: dict[str, Any]) -> None:
        line = json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with self._lock:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a file that this module wrote; an absent file has none."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield json.loads(line)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by one rename, so that a reader sees the old text or the new one."""
    staging = path.with_name(f".{path.name}.new")
    staging.write_text(text, encoding="utf-8")
    staging.replace(path)


def _cut_torn_tail(path: Path) -> None:
    if not path.is_file():
        return
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        keep = size
        while keep and _byte(file, keep - 1) != b"\n":
            keep -= 1
        if keep != size:
            file.truncate(keep)


def _byte(file: Any, position: int) -> bytes:
    file.seek(position)
    return file.read(1)
