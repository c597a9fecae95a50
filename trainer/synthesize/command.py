"""Make training data of graded hardness: queries, positives, and negatives of rising similarity, grounded in your own corpus.

Three providers: `corpus` needs no LLM, `openai` asks any OpenAI-compatible endpoint, `llamacpp` runs a local GGUF model.
Every finished record is on disk at once; a run that was stopped or killed is gone on with by the same command, and asks for
nothing twice. Exit codes: 0 done or the budget is used up; 2 unusable input; 4 the endpoint refuses or is gone; 143 stopped
by a signal. Whatever was finished is published in every case.
"""

import argparse

from trainer.synthesize import settings
from trainer.synthesize.run import synthesize


def add_arguments(parser: argparse.ArgumentParser) -> None:
    settings.add_flags(parser)


def run(arguments: argparse.Namespace) -> None:
    synthesize(settings.resolve(arguments))
