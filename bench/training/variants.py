"""Short trainings that differ in one thing, each over the same seeds, judged alike and put into one table.

What is finished is kept (`<output>/<variant>-seed<n>/judgements.pickle`), so the same command goes on after a stop, and adds
seeds to what is there. A variant is a list of recipe changes; None is the base as it is, not trained.
"""

import argparse
import json
import os
import pickle
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from trainer.evaluate import seeds
from trainer.evaluate.encoders import ModelEncoder
from trainer.evaluate.judge import Judgement, judge
from trainer.evaluate.sets import load_set
from trainer.evaluate.statistics import Interval
from trainer.finetune import finetune
from trainer.model import PoolingChoice, load_model, new_model
from trainer.recipe import load_recipe

WHOLE = ("stsb",)  # small enough, and its figure is known from elsewhere: never cut


@dataclass(frozen=True)
class Study:
    """`changes` are common to all variants; differences are taken to each of `baselines`, the first of which the table marks."""

    title: str
    recipe: Path
    changes: Sequence[str]
    variants: Mapping[str, Sequence[str] | None]
    sets: Sequence[str]
    baselines: Sequence[str]


def add_arguments(parser: argparse.ArgumentParser, steps: int, batch: int, max_tokens: int) -> None:
    parser.add_argument("--base", type=Path, required=True, help="Hugging Face folder of the model that every variant starts from")
    parser.add_argument("--data", type=Path, required=True, help="folder with eval/ and, for compare_poolings.py, train/ (docs/training.md)")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch", type=int, default=batch, help="records a step")
    parser.add_argument("--max-tokens", type=int, default=max_tokens)
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32", help="of training and of judging")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch (0: its own choice)")
    parser.add_argument("--queries-max", type=int, default=0, help="queries or test texts drawn of each set but STS (default all)")
    parser.add_argument("--documents-max", type=int, default=0, help="documents of each corpus: the judged ones, filled up (default all)")
    parser.add_argument("--keep-models", action="store_true", help="keep each trained model, 90 MB for MiniLM, not its figures alone")


def run(study: Study, arguments: argparse.Namespace) -> None:
    """Train and judge what is missing, seed by seed, then write summary.json, summary.md and summary.svg."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    sets = [load_set(str(arguments.data / "eval" / name), 0 if name in WHOLE else arguments.queries_max, 0, arguments.documents_max) for name in study.sets]
    for seed in arguments.seeds:
        for name, changes in study.variants.items():
            folder = arguments.output / _folder(name, changes, seed)
            if not (folder / "judgements.pickle").is_file():
                encoder = _encoder(study, changes, folder, seed, arguments)
                _keep(folder, [judge(encoder, evaluation_set) for evaluation_set in sets], arguments.keep_models)
        _summarize(study, arguments, [known for known in arguments.seeds if _complete(study, arguments.output, known)])


def _encoder(study: Study, changes: Sequence[str] | None, folder: Path, seed: int, arguments: argparse.Namespace) -> ModelEncoder:
    bf16 = arguments.precision == "bf16"
    device = "cuda" if arguments.device == "cuda" or (arguments.device == "auto" and torch.cuda.is_available()) else "cpu"
    if changes is None:
        return ModelEncoder(new_model(arguments.base, PoolingChoice(mode="mean"), arguments.max_tokens).to(device), bf16=bf16)
    recipe = load_recipe(study.recipe, [
        f"base={arguments.base}", f"output={folder}", f"seed={seed}", f"stages.0.steps={arguments.steps}", f"stages.0.batch={arguments.batch}",
        f"max_tokens={arguments.max_tokens}", f"precision={arguments.precision}", f"device={arguments.device}", *study.changes, *changes])
    return ModelEncoder(load_model(finetune(recipe)).to(device), bf16=bf16)


def _keep(folder: Path, judged: list[Judgement], keep_model: bool) -> None:
    """The figures; checkpoints and the copy of the data are of no more use."""
    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / "judgements.new"
    staging.write_bytes(pickle.dumps(judged))
    staging.replace(folder / "judgements.pickle")
    for name in ("checkpoints", "data", *(() if keep_model else ("model",))):
        shutil.rmtree(folder / name, ignore_errors=True)


def _summarize(study: Study, arguments: argparse.Namespace, done: list[int]) -> None:
    if not done:
        return
    runs = {name: _runs(arguments.output, name, changes, done) for name, changes in study.variants.items()}
    facts = {name: _facts(arguments.output, name, changes, done) for name, changes in study.variants.items()}
    about = {"title": study.title, "seeds": done, "steps": arguments.steps, "batch": arguments.batch, "maxTokens": arguments.max_tokens,
             "precision": arguments.precision, "queriesMax": arguments.queries_max, "documentsMax": arguments.documents_max, "neverCut": WHOLE,
             "base": arguments.base.parent.name + "/" + arguments.base.name, "changes": [change for change in study.changes if "path=" not in change],
             "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
                         "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None},
             "versions": {name: version(name) for name in ("torch", "transformers", "sentence-transformers")}}
    table = {name: _row(study, name, runs) for name in study.variants}
    summary = {**about, "variants": {name: {**table[name], "runs": facts[name]} for name in table}}
    (arguments.output / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    (arguments.output / "summary.md").write_text(markdown(study, table), encoding="utf-8")
    draw(study, table, arguments.output / "summary.svg")
    print(f"{study.title}: {len(done)} seeds, see {arguments.output}/summary.md", file=sys.stderr)


def _row(study: Study, name: str, runs: dict[str, list[seeds.Runs]]) -> dict[str, Any]:
    """Figures in percent: by set, over all sets, and the differences to the baselines."""
    own = runs[name]
    row: dict[str, Any] = {"sets": {set_: {"metric": own[i].judgements[0].metric, "items": own[i].items, **_percent(own[i].interval),
                                           "bySeed": [round(100 * run.main.value, 2) for run in own[i].judgements]} for i, set_ in enumerate(study.sets)},
                           "mean": round(100 * sum(judged.value for judged in own) / len(own), 3), "differences": {}}
    for baseline in study.baselines:
        if baseline != name:
            theirs = runs[baseline]
            row["differences"][baseline] = {"mean": _difference(own, theirs),
                                            "sets": {set_: _difference([own[i]], [theirs[i]]) for i, set_ in enumerate(study.sets)}}
    return row


def markdown(study: Study, table: dict[str, dict[str, Any]]) -> str:
    """One row a variant: each set's mean over seeds with its interval, their mean, and its difference to each baseline."""
    head = ["variant", *study.sets, "mean", *(f"to {baseline}" for baseline in study.baselines)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, row in table.items():
        cells = [f"{value['value']:.2f} [{value['low']:.2f}, {value['high']:.2f}]" + _mark(row, study.baselines[0], set_) for set_, value in row["sets"].items()]
        apart = [_signed(row["differences"][baseline]["mean"]) if baseline in row["differences"] else "" for baseline in study.baselines]
        lines.append("| " + " | ".join([name, *cells, f"{row['mean']:.2f}", *apart]) + " |")
    metrics = ", ".join(f"{set_} {value['metric']} (n {value['items']})" for set_, value in next(iter(table.values()))["sets"].items())
    return "\n".join(lines) + (f"\n\nx100: {metrics}. Means over seeds; in brackets 95% intervals of a bootstrap over seeds and items. `*`: differs from "
                               f"{study.baselines[0]} at p < 0.05 on that set, paired, not corrected for the number of tests.\n")


def draw(study: Study, table: dict[str, dict[str, Any]], path: Path) -> None:
    """For each baseline a panel: difference of every other variant to it, mean of the sets, with its interval."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(study.baselines), figsize=(4.6 * len(study.baselines) + 1.4, 0.36 * len(table) + 1.3), sharey=True, squeeze=False)
    for axis, baseline in zip(axes[0], study.baselines, strict=True):
        for place, row in enumerate(table.values()):
            if apart := row["differences"].get(baseline, {}).get("mean"):
                axis.errorbar(apart["value"], place, xerr=[[apart["value"] - apart["low"]], [apart["high"] - apart["value"]]], fmt="o", capsize=3, color="C0")
        axis.axvline(0, color="0.6", linewidth=1)
        axis.set_title(f"difference to {baseline}, mean of {len(study.sets)} sets", fontsize=9)
        axis.grid(axis="x", alpha=0.3)
        axis.set_yticks(range(len(table)), list(table), fontsize=8)
    axes[0][0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    # For who cannot see it, and for the linter that asks on their behalf.
    path.write_text(path.read_text(encoding="utf-8").replace(" <metadata>", f" <title>{study.title}</title>\n <metadata>", 1), encoding="utf-8")


def _folder(name: str, changes: Sequence[str] | None, seed: int) -> str:
    plain = name.replace(" ", "-").replace(",", "")
    return plain if changes is None else f"{plain}-seed{seed}"


def _complete(study: Study, output: Path, seed: int) -> bool:
    return all((output / _folder(name, changes, seed) / "judgements.pickle").is_file() for name, changes in study.variants.items())


def _runs(output: Path, name: str, changes: Sequence[str] | None, done: list[int]) -> list[seeds.Runs]:
    """A Runs a set; what is not trained has the same judgement for every seed."""
    by_seed = [pickle.loads((output / _folder(name, changes, seed) / "judgements.pickle").read_bytes()) for seed in done]
    return [seeds.Runs(judged) for judged in zip(*by_seed, strict=True)]


def _facts(output: Path, name: str, changes: Sequence[str] | None, done: list[int]) -> list[dict[str, Any]]:
    """Of each run: tokens, where its pooling came to, and its last losses."""
    facts = []
    for seed in [] if changes is None else done:
        folder = output / _folder(name, changes, seed)
        run_ = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        losses = [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        facts.append({"seed": seed, "tokens": run_["tokens"], "pooling": run_["pooling"], "lossFirst10": round(sum(losses[:10]) / len(losses[:10]), 4),
                      "lossLast10": round(sum(losses[-10:]) / len(losses[-10:]), 4)})
    return facts


def _difference(ours: list[seeds.Runs], theirs: list[seeds.Runs]) -> dict[str, float]:
    apart, p_value = seeds.difference(ours, theirs)
    return {**_percent(apart), "pValue": round(p_value, 4)}


def _percent(interval: Interval) -> dict[str, float]:
    return {key: round(100 * value, 3) for key, value in asdict(interval).items()}


def _mark(row: dict[str, Any], baseline: str, set_: str) -> str:
    return "*" if row["differences"].get(baseline, {}).get("sets", {}).get(set_, {}).get("pValue", 1) < 0.05 else ""


def _signed(apart: dict[str, float]) -> str:
    return f"{apart['value']:+.2f} [{apart['low']:+.2f}, {apart['high']:+.2f}]"
