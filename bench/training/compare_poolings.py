"""The same short training under every pooling, judged on sets that share nothing with it.

    python bench/training/compare_poolings.py --base MODEL --data FOLDER --output FOLDER [--seeds 1 2] [--steps 80] [--documents-max 1000 ...]

FOLDER has train/ and eval/ (see docs/training.md). Every run that is finished is kept, so a stopped comparison goes on. The
report lists, beside the trained variants, the untrained base under mean pooling.
"""

import argparse
import json
import pickle
import platform
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from trainer.evaluate.encoders import ModelEncoder, open_encoder  # noqa: E402
from trainer.evaluate.judge import Judgement, judge  # noqa: E402
from trainer.evaluate.report import write_report  # noqa: E402
from trainer.evaluate.sets import load_set  # noqa: E402
from trainer.finetune import finetune  # noqa: E402
from trainer.model import PoolingChoice, new_model  # noqa: E402
from trainer.recipe import load_recipe  # noqa: E402

RECIPE = ROOT / "trainer" / "recipes" / "pooling-comparison.yaml"
VARIANTS = {
    "mean": {"mode": "mean"},
    "ata gamma 1": {"mode": "ata", "gamma": 1.0},
    "ata gamma 0.5": {"mode": "ata", "gamma": 0.5},
    "ata learned gamma": {"mode": "ata", "gamma": 0.5, "learn_gamma": True},
    "ata learned gamma, heads": {"mode": "ata", "gamma": 0.5, "learn_gamma": True, "learn_head_weights": True},
}
SETS = ("nq_oracle", "squad_dev", "arxiv_title_abstract", "stsb", "banking77")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--queries-max", type=int, default=0, help="queries, pairs or test texts drawn of each set (default all)")
    parser.add_argument("--documents-max", type=int, default=0, help="documents of each corpus: the judged ones, filled up (default all)")
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        judgements = {"untrained mean": _judged(arguments, "untrained", _untrained)}
        for name, pooling in VARIANTS.items():
            folder = f"{name.replace(' ', '-').replace(',', '')}-seed{seed}"
            judgements[name] = _judged(arguments, folder, lambda args, pooling=pooling, folder=folder, seed=seed: _trained(args, pooling, folder, seed))
        about = {"seed": seed, "steps": arguments.steps, "batch": 32, "maxTokens": arguments.max_tokens, "queriesMax": arguments.queries_max,
                 "documentsMax": arguments.documents_max,
                 "machine": f"{platform.machine()}, {platform.system()}",
                 "gammas": {name: _facts(arguments, name, seed).get("pooling") for name in VARIANTS}}
        write_report(arguments.output / f"report-seed{seed}", judgements, "mean", about)


def _untrained(arguments: argparse.Namespace) -> ModelEncoder:
    return ModelEncoder(new_model(arguments.base, PoolingChoice(mode="mean"), arguments.max_tokens))


def _trained(arguments: argparse.Namespace, pooling: dict, folder: str, seed: int) -> ModelEncoder:
    changes = [f"pooling={json.dumps(pooling)}", f"seed={seed}", f"base={arguments.base}", f"output={arguments.output / folder}",
               f"stages.0.steps={arguments.steps}", f"max_tokens={arguments.max_tokens}"]
    sources = load_recipe(RECIPE, []).stages[0].sources
    changes += [f"stages.0.sources.{i}.path={arguments.data / Path(source.path).relative_to('data')}" for i, source in enumerate(sources)]
    return open_encoder(str(finetune(load_recipe(RECIPE, changes))))


def _judged(arguments: argparse.Namespace, folder: str, make) -> list[Judgement]:
    """Judgements of one variant, from its folder where an earlier run left them."""
    path = arguments.output / folder / "judgements.pickle"
    if path.is_file():
        return pickle.loads(path.read_bytes())
    encoder = make(arguments)
    judged = [judge(encoder, load_set(str(arguments.data / "eval" / name), arguments.queries_max, 0, arguments.documents_max)) for name in SETS]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(judged))
    return judged


def _facts(arguments: argparse.Namespace, name: str, seed: int) -> dict:
    path = arguments.output / f"{name.replace(' ', '-').replace(',', '')}-seed{seed}" / "run.json"
    return json.loads(path.read_text()) if path.is_file() else {}


if __name__ == "__main__":
    main()
