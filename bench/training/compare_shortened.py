"""The default model's training at a smaller scale under ATA, mean and [CLS] pooling: the same layers, texts, order and steps, judged side by side.

    python bench/training/compare_shortened.py --encoder FOLDER --keep 0 2 6 8 9 10 --texts FOLDER --data FOLDER --output FOLDER [--tokens 3e6]

What is learned is the same for all: the states of the whole, and its embedding pooled by mean. What is finished is kept, and a run that was stopped goes
on. Left in the output: a folder of `trainer shorten` a pooling, and evaluation/, each paired with mean.
"""

import argparse
from pathlib import Path

from distill import add_judging, command, judge

STEP_TOKENS = 16_384
POOLINGS = ("mean", "ata", "cls")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("encoder", "texts", "data", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--keep", type=int, nargs="+", required=True)
    parser.add_argument("--tokens", type=float, default=3e6, help="of a run")
    parser.add_argument("--step-tokens", type=int, default=STEP_TOKENS)
    parser.add_argument("--threads", type=int, default=2)
    add_judging(parser)
    given = parser.parse_args()
    for pooling in POOLINGS:
        if not (given.output / pooling / "run.json").is_file():
            command("shorten", "--encoder", given.encoder, "--keep", *given.keep, "--texts", given.texts, "--tokens", given.tokens, "--step-tokens", given.step_tokens,
                    "--threads", given.threads, "--pooling", pooling, "--output", given.output / pooling)
    judge({**{pooling: given.output / pooling / "model" for pooling in POOLINGS}, "whole": given.encoder}, given)


if __name__ == "__main__":
    main()
