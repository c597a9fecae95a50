"""Progress as the server reads it: standard output carries one JSON object a line and nothing else."""

import json
import sys
from typing import Any


def emit(event: str, **fields: Any) -> None:
    """Write one event line, for example `{"event": "progress", "stage": "graph"}`."""
    sys.stdout.write(json.dumps({"event": event, **fields}, ensure_ascii=False) + "\n")
    sys.stdout.flush()
