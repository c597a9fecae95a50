"""Early exits of a model version: layers after which a request may end, and the sizes of the vectors that come out there.

The manifest lists them as [{"layers": 3, "dimensions": [384, 128]}, …], largest size first.
"""

import argparse
from typing import Any

from trainer.errors import InputError


def parse_exit(text: str) -> dict[str, Any]:
    """"3" or "3:384,128" of the command line."""
    layers, _, sizes = text.partition(":")
    try:
        return {"layers": int(layers), "dimensions": sorted({int(size) for size in sizes.split(",") if size}, reverse=True)}
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is not LAYERS or LAYERS:SIZE,SIZE") from error


def check_exits(exits: list[dict[str, Any]], layers: int, dimensions: int) -> list[dict[str, Any]]:
    """The exits in order, with sizes filled in; raises InputError where one does not fit a model of so many layers and dimensions."""
    for one in exits:
        if not 1 <= one["layers"] < layers:
            raise InputError(f"--exit {one['layers']} must lie between 1 and {layers - 1}" if layers else "--exit is made for BERT with GELU")
        if not all(1 <= size <= dimensions for size in one["dimensions"]):
            raise InputError(f"--exit {one['layers']}: the dimensions must lie between 1 and {dimensions}")
    if len({one["layers"] for one in exits}) < len(exits):
        raise InputError("--exit names a layer twice")
    return sorted(({**one, "dimensions": one["dimensions"] or [dimensions]} for one in exits), key=lambda one: one["layers"])
