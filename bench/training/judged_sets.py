"""What gammas.py and teachers.py judge on: the sets, how much of each, and at what precision."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from trainer.evaluate.sets import EvaluationSet, load_set


def add_arguments(parser: argparse.ArgumentParser, sets: Sequence[str]) -> None:
    parser.add_argument("--data", type=Path, required=True, help="its folder eval has the sets")
    parser.add_argument("--sets", nargs="+", default=sets)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--queries-max", type=int, default=0)
    parser.add_argument("--documents-max", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)


def open_sets(arguments: argparse.Namespace) -> dict[str, EvaluationSet]:
    """By name; STS sets whole. PyTorch gets its threads, too."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    return {name: load_set(str(arguments.data / "eval" / name), 0 if name.startswith("sts") else arguments.queries_max, 0, arguments.documents_max)
            for name in arguments.sets}
