"""Files that are gzipped where their name says so."""

import gzip
from pathlib import Path
from typing import IO, Any


def opened(path: Path, mode: str = "rt", **options: Any) -> IO[Any]:
    """As open(); text is UTF-8."""
    if "b" not in mode:
        options = {"encoding": "utf-8", **options}
    return gzip.open(path, mode, **options) if path.suffix == ".gz" else path.open(mode, **options)
