"""The default model's distillation from end to end: teach, train, export as int8, judge beside the base and the teacher.

    python bench/training/distill.py --base MODEL --teacher VERSION --data FOLDER --output FOLDER [--steps 8000] [--precision bf16] [--device cuda]

VERSION is a model version folder, for example bge-small-en-v1.5 as `npm run model -- import` makes it. FOLDER has train/ and eval/
(see docs/training.md). Every part goes on where it was stopped; further recipe changes are given with --set. Left in the output:
teacher/ (the teacher's vectors), run/ (the training run), models/ (the version, int8), evaluation/ (the report).
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from trainer.cli import main as trainer  # noqa: E402
from trainer.recipe import load_recipe  # noqa: E402

RECIPE = ROOT / "trainer" / "recipes" / "default-distillation.yaml"
SETS = ("nq_oracle", "squad_dev", "cranfield", "arxiv_title_abstract", "stsb", "sts12", "banking77", "stackoverflow20")
VERSION = "1-int8"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--name", default="anchorage-small", help="the model's name as a version")
    parser.add_argument("--steps", type=int, help="default: the recipe's")
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32", help="of training")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch (0: its own choice)")
    parser.add_argument("--teach-all", action="store_true", help="compute the teacher's vectors of all texts first, not those alone that the steps meet")
    parser.add_argument("--sets", nargs="+", default=SETS, help="folders of data/eval to judge on")
    parser.add_argument("--queries-max", type=int, default=0)
    parser.add_argument("--documents-max", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one value of the recipe")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    recipe = ["--recipe", str(RECIPE), *(part for change in _changes(arguments) for part in ("--set", change))]
    if arguments.teach_all:
        _run("teach", *recipe)
    model, version = arguments.output / "run" / "model", arguments.output / "models" / arguments.name / VERSION
    if not (arguments.output / "run" / "run.json").is_file():
        _run("finetune", *recipe)
    if not version.is_dir():
        _run("export", "--model", model, "--name", arguments.name, "--version", VERSION, "--quantization", "int8", "--output", arguments.output / "models",
             "--license", "apache-2.0", "--origin", f"{arguments.base.parent.name} distilled from {arguments.teacher.parent.name}")
    encoders = {"base": arguments.base, "distilled": model, "distilled-int8": version, "teacher": arguments.teacher}
    _run("evaluate", *(part for name, place in encoders.items() for part in ("--encoder", f"{name}={place}")),
         *(part for name in arguments.sets for part in ("--set", arguments.data / "eval" / name)),
         "--queries-max", arguments.queries_max, "--documents-max", arguments.documents_max, "--output", arguments.output / "evaluation")


def _changes(arguments: argparse.Namespace) -> list[str]:
    sources = load_recipe(RECIPE, []).stages[0].sources
    return [f"base={arguments.base}", f"teacher={arguments.teacher}", f"teacher_cache={arguments.output / 'teacher'}", f"output={arguments.output / 'run'}",
            f"precision={arguments.precision}", f"device={arguments.device}", *([f"stages.0.steps={arguments.steps}"] if arguments.steps else []),
            *(f"stages.0.sources.{i}.path={arguments.data / Path(source.path).relative_to('data')}" for i, source in enumerate(sources)), *arguments.set]


def _run(*words: object) -> None:
    """One command of the trainer; a failure ends this program with the command's exit code."""
    code = trainer([str(word) for word in words])
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
