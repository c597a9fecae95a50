"""The same short training under every pooling, over several seeds, judged on sets that share nothing with it.

    python bench/training/compare_poolings.py --base MODEL --data FOLDER --output FOLDER [--seeds 1 2 3] [--steps 80] [--documents-max 1000 ...]

FOLDER has train/ and eval/ (see docs/training.md). Every run that is finished is kept, so a stopped comparison goes on. The
table has, beside the trained variants, the untrained base under mean pooling.
"""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import variants  # noqa: E402

from trainer.recipe import load_recipe  # noqa: E402

RECIPE = ROOT / "trainer" / "recipes" / "pooling-comparison.yaml"
POOLINGS = {
    "mean": {"mode": "mean"},
    "cls": {"mode": "cls"},
    "ata gamma 1": {"mode": "ata", "gamma": 1.0},
    "ata gamma 0.5": {"mode": "ata", "gamma": 0.5},
    "ata learned gamma": {"mode": "ata", "gamma": 0.5, "learn_gamma": True},
    "ata learned gamma, heads": {"mode": "ata", "gamma": 0.5, "learn_gamma": True, "learn_head_weights": True},
}
SETS = ("nq_oracle", "squad_dev", "arxiv_title_abstract", "stsb", "banking77")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    variants.add_arguments(parser, steps=80, batch=32, max_tokens=128)
    arguments = parser.parse_args()
    sources = load_recipe(RECIPE, []).stages[0].sources
    paths = [f"stages.0.sources.{i}.path={arguments.data / Path(source.path).relative_to('data')}" for i, source in enumerate(sources)]
    trained = {name: [f"pooling={json.dumps(pooling)}"] for name, pooling in POOLINGS.items()}
    variants.run(variants.Study("poolings under the same training", RECIPE, paths, {"untrained": None, **trained}, SETS, ["mean"]), arguments)


if __name__ == "__main__":
    main()
