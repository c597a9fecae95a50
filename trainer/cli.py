"""The command line: each subcommand is one module with `add_arguments(parser)` and `run(arguments)`.

Modules are imported only when their subcommand is asked for, so `--help` does not wait for PyTorch.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from trainer.errors import TrainerError
from trainer.events import emit

# name -> (module, what it does)
SUBCOMMANDS = {
    "synthesize": ("trainer.synthesize.command", "make training data of graded hardness from a corpus, with or without an LLM"),
    "base": ("trainer.base_of_version", "turn an imported ONNX model version back into a folder that can be trained"),
    "export": ("trainer.export.command", "make a model version folder from a Hugging Face encoder folder"),
    "quantization-report": ("trainer.export.report", "judge a model's quantizations: parity, loss, batch invariance, speed"),
    "golden": ("trainer.golden", "write the PyTorch embeddings that the server's tests compare with"),
    "finetune": ("trainer.finetune", "train an encoder by a recipe, from pairs and graded hard negatives"),
    "evaluate": ("trainer.evaluate.command", "judge encoders, or a running server, with confidence intervals"),
    "mine": ("trainer.mining", "give pairs graded hard negatives from a corpus, by a model's own similarity"),
    "score": ("trainer.scoring", "give records a cross-encoder's scores, for distillation"),
    "teach": ("trainer.teach", "compute once what a distillation's teachers say, into the recipe's cache"),
    "shorten": ("trainer.shorten", "make an encoder of fewer layers that does what all of them did"),
    "fuse": ("trainer.fusion", "make one model of several trained from the same base"),
}


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand named first in `arguments`; returns the process's exit code."""
    parser = _parser()
    if not arguments or arguments[0] not in SUBCOMMANDS:
        parser.parse_args(arguments or ["--help"])
        return 2
    name = arguments[0]
    module = importlib.import_module(SUBCOMMANDS[name][0])
    subparser = argparse.ArgumentParser(prog=f"python -m trainer {name}", description=module.__doc__,
                                        formatter_class=argparse.RawDescriptionHelpFormatter)
    module.add_arguments(subparser)
    try:
        module.run(subparser.parse_args(arguments[1:]))
    except TrainerError as error:
        emit("error", type=type(error).__name__, message=str(error))
        print(f"trainer {name}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    """The parser of the first word alone; every subcommand parses the rest itself."""
    parser = argparse.ArgumentParser(prog="python -m trainer", description="Make and judge the encoders that Anchorage serves.")
    commands = parser.add_subparsers(metavar="command", required=True)
    for name, (_, summary) in SUBCOMMANDS.items():
        commands.add_parser(name, help=summary, add_help=False)
    return parser
