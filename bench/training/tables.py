"""Every table about ATA, graded negatives and the default model, from one command; what is finished is kept, so the same command goes on.

    python bench/training/tables.py --base MODEL --model MODEL --version VERSION --teacher MODEL [--encoder NAME=FOLDER …] --records FILE --texts FOLDER --data FOLDER --output FOLDER

--model is the trained folder and --version its int8 version (distill.py leaves both); --teacher and --encoder are folders of `trainer base`; --records is
the train.jsonl of a synthesized data set (bench/synthesis), --texts what compare_shortened.py learns from. Left in the output: a folder a part, and tables.md, all of them.

| part | shows |
|---|---|
| model | the default model and its int8 beside its base and its teacher, all sets |
| dimensions | its first 256, 128 and 64 dimensions |
| layers | what its earlier layers are worth, of all and of fewer dimensions |
| gammas | ATA without any training, against mean and [CLS] |
| poolings | mean, [CLS] and ATA under the same training, three seeds |
| shortened | the same three under the default model's own training |
| negatives | with and without graded negatives, orders of hardness, EGA, three seeds |
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from compare_shortened import STEP_TOKENS
from distill import LAYERS, SETS

HERE = Path(__file__).parent
DIMENSIONS = (256, 128, 64)
LAYERS_ON = ("stsb", "sts12", "squad_dev", "nq_oracle", "cosqa")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, of in (("base", "what the model was trained from"), ("model", "the trained model"), ("version", "its int8 version"), ("teacher", "what it learned from"),
                     ("records", "train.jsonl of a synthesized data set"), ("texts", "folder of texts to shorten the teacher over"), ("data", "folder with train/ and eval/"), ("output", "folder of the tables")):
        parser.add_argument(f"--{name}", type=Path, required=True, help=of)
    parser.add_argument("--encoder", action="append", default=[], metavar="NAME=FOLDER", help="one more encoder to pool by every gamma")
    parser.add_argument("--only", nargs="+", choices=("model", "dimensions", "layers", "gammas", "poolings", "shortened", "negatives"), help="these parts alone")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=80, help="of each short training; the shortened models get twice as many")
    parser.add_argument("--queries-max", type=int, default=1000)
    parser.add_argument("--documents-max", type=int, default=2500)
    parser.add_argument("--precision", choices=("float32", "bf16"), default="bf16")
    arguments = parser.parse_args()
    parts = _parts(arguments)
    for name, (command, report) in parts.items():
        if (not arguments.only or name.partition("-")[0] in arguments.only) and not (report.is_file() and "evaluation" in report.name):
            subprocess.run([sys.executable, *map(str, command)], check=True, cwd=HERE.parents[1])
    tables = [f"## {name}\n\n{report.read_text(encoding='utf-8')}" for name, (_, report) in parts.items() if report.is_file()]
    (arguments.output / "tables.md").write_text("\n".join(tables), encoding="utf-8")


def _parts(given: argparse.Namespace) -> dict[str, tuple[list[object], Path]]:
    """Name -> the command, and the Markdown file that it leaves."""
    output = given.output.absolute()
    limits = ["--queries-max", given.queries_max, "--documents-max", given.documents_max, "--precision", given.precision]
    base, data = given.base.absolute(), given.data.absolute()
    model, version, teacher = (f"{name}={place.absolute()}" for name, place in (("model", given.model), ("int8", given.version), ("teacher", given.teacher)))
    sets = [part for name in SETS for part in ("--set", data / "eval" / name)]
    parts: dict[str, tuple[list[object], Path]] = {}

    def evaluation(name: str, *flags: object) -> None:
        parts[name] = (["-m", "trainer", "evaluate", *flags, *sets, *limits, "--output", output / name], output / name / "evaluation.md")

    evaluation("model", "--encoder", f"base={base}", "--encoder", model, "--encoder", version, "--encoder", teacher)
    for size in DIMENSIONS:
        evaluation(f"dimensions-{size}", "--encoder", f"base={base}", "--encoder", model, "--dimensions", size)
    gamma = json.loads((given.version / "manifest.json").read_text(encoding="utf-8"))["pooling"].get("gamma", 0)
    parts["layers"] = ([HERE.parent / "exits.py", "--model", given.model.absolute(), "--gamma", gamma, "--sizes", 384, *DIMENSIONS, *limits[:4], "--output", output / "layers" / "evaluation.md",
                        *(data / "eval" / name for name in LAYERS_ON)], output / "layers" / "evaluation.md")
    others = ((name, Path(folder).absolute()) for name, _, folder in (entry.partition("=") for entry in given.encoder))
    for name, folder in (("base", base), ("teacher", given.teacher.absolute()), *others):
        parts[f"gammas-{name}"] = ([HERE / "gammas.py", "--encoder", f"{name}={folder}", "--data", data, "--output", output / "gammas", *limits],
                                   output / "gammas" / name / "evaluation.md")
    study = ["--base", base, "--data", data, "--seeds", *given.seeds, "--precision", given.precision, "--steps", given.steps, "--queries-max", given.queries_max]
    parts["poolings"] = ([HERE / "compare_poolings.py", *study, "--documents-max", min(given.documents_max, 1000), "--max-tokens", 96, "--output", output / "poolings"],
                         output / "poolings" / "summary.md")
    parts["shortened"] = ([HERE / "compare_shortened.py", "--encoder", given.teacher.absolute(), "--keep", *LAYERS, "--texts", given.texts.absolute(), "--data", data,
                           "--tokens", 2 * given.steps * STEP_TOKENS, *limits, "--output", output / "shortened"], output / "shortened" / "evaluation" / "evaluation.md")
    parts["negatives"] = ([HERE.parent / "synthesis" / "ablation.py", *study, "--documents-max", min(given.documents_max, 800), "--records", given.records.absolute(), "--output", output / "negatives"],
                          output / "negatives" / "summary.md")
    return parts


if __name__ == "__main__":
    main()
