"""Rows of numbers on disk by key, appended by many processes at once: what teachers said of a text, once.

    <folder>/<number>.f16     rows [any count, columns] in float16, one key's behind another's
    <folder>/<number>.keys    an entry of 20 bytes a key: the key (16), how many rows it has (4, little-endian)

A process that keeps something takes the first number that no other holds a lock on, of this run or another. All read all: what others kept is seen
when a key is missed. Rows are on the disk before their entry is written, so that what has an entry is whole after a crash or a power cut; what has
none, or nothing but zeros at the end, is cut off. Memory: some 250 bytes a key.
"""

import fcntl
import itertools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

KEY_BYTES = 16
ENTRY = np.dtype([("key", f"V{KEY_BYTES}"), ("rows", "<u4")])


@dataclass
class _Part:
    """The files of one number, as far as they were read."""

    file: int
    entries: int = 0
    end: int = 0  # bytes of rows


class KeyedRows:
    def __init__(self, folder: Path, columns: int) -> None:
        self.folder, self._columns = folder, columns
        self._parts: dict[str, _Part] = {}
        self._places: dict[bytes, tuple[int, int, int]] = {}  # file, offset in bytes, rows
        self._own: tuple[_Part, BinaryIO, BinaryIO] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._read()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def __getitem__(self, key: bytes) -> np.ndarray:
        """[rows, columns]"""
        file, offset, rows = self._places[key]
        return np.frombuffer(os.pread(file, 2 * rows * self._columns, offset), np.float16).reshape(rows, self._columns)

    def missing(self, keys: Iterable[bytes]) -> list[bytes]:
        """Those that no process has kept, each once."""
        keys = dict.fromkeys(keys)
        if not all(key in self._places for key in keys):
            self._read()
        return [key for key in keys if key not in self._places]

    def keep(self, rows: Mapping[bytes, np.ndarray]) -> None:
        """Each key's [rows, columns], whatever their kind of number."""
        part, values, entries = self._own = self._own or self._take_files()
        places: dict[bytes, tuple[int, int, int]] = {}
        for key, own in rows.items():
            places[key] = (part.file, part.end, len(own))
            part.end += values.write(own.astype(np.float16).tobytes())
        values.flush()
        os.fsync(values.fileno())
        entries.write(np.array([(np.void(key), count) for key, (_, _, count) in places.items()], dtype=ENTRY).tobytes())
        entries.flush()
        part.entries += len(places)
        self._places |= places

    def _bytes(self, part: _Part, end: int, rows: int) -> bytes:
        size = 2 * rows * self._columns
        return os.pread(part.file, size, end - size)

    def _take_files(self) -> tuple[_Part, BinaryIO, BinaryIO]:
        for number in itertools.count():
            values = (self.folder / f"{number}.f16").open("ab")
            try:
                fcntl.flock(values, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                values.close()
                continue
            entries = (self.folder / f"{number}.keys").open("ab")
            self._read()
            part = self._parts[str(number)]
            values.truncate(part.end)
            entries.truncate(part.entries * ENTRY.itemsize)
            return part, values, entries
        raise AssertionError("numbers do not end")

    def _read(self) -> None:
        """Take what all processes have kept since the last time; what a crash left without its other half, or a power cut empty at the end, is passed over."""
        for path in sorted(self.folder.glob("*.keys")):
            values = path.with_suffix(".f16")
            if path.stem not in self._parts:
                if not values.is_file():
                    continue
                self._parts[path.stem] = _Part(os.open(values, os.O_RDONLY))
            part = self._parts[path.stem]
            new = path.stat().st_size // ENTRY.itemsize - part.entries
            if new <= 0:
                continue
            held = np.fromfile(path, ENTRY, count=new, offset=part.entries * ENTRY.itemsize)
            ends = part.end + np.cumsum(held["rows"].astype(np.int64)) * 2 * self._columns
            whole = int(np.searchsorted(ends, values.stat().st_size, side="right"))
            while whole and not any(self._bytes(part, int(ends[whole - 1]), int(held["rows"][whole - 1]))):
                whole -= 1
            for entry, end in zip(held[:whole], ends[:whole].tolist(), strict=True):
                rows = int(entry["rows"])
                self._places[entry["key"].tobytes()] = (part.file, end - 2 * rows * self._columns, rows)
            part.entries += whole
            part.end = int(ends[whole - 1]) if whole else part.end
