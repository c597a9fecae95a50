"""MGH's ablation (arXiv 2509.00842): in which order a model meets graded negatives, at the same budget, over several seeds.

    python bench/synthesis/ablation.py --records DATASET/train.jsonl --base MODEL --data FOLDER --output FOLDER [--seeds 1 2 3] [--steps 80] [--batch 16]

DATASET is what `trainer synthesize` made; FOLDER/eval has sets that share nothing with its passages. The orders: coarse to fine,
reverse, random, each single level, and no hard negatives at all; and two of them under EGA. A step has the same records under every order; without hard
negatives it has fewer texts and so costs less. Every run that is finished is kept. On a GPU, at a scale that says more:

    python bench/synthesis/ablation.py ... --device cuda --precision bf16 --steps 1000 --batch 256 --max-tokens 256 --micro-batch 256
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "bench" / "training")]

import variants  # noqa: E402

RECIPE = ROOT / "trainer" / "recipes" / "order-ablation.yaml"
ORDERS = {"no hard negatives": "none", "curriculum": "coarse-to-fine", "random": "random", "reverse": "reverse",
          "level 1": "level-1", "level 2": "level-2", "level 3": "level-3", "level 4": "level-4"}
# The same records and orders, with gradients of hard negatives amplified (arXiv 2506.02020).
EGA = {"random, EGA": "random", "curriculum, EGA": "coarse-to-fine"}
EGA_LOSS = "stages.0.loss={name: ega, temperature: 0.05, strength: 4.0, margin: 0.1}"
SETS = ("nq_oracle", "squad_dev", "cranfield", "arxiv_title_abstract", "stsb")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, required=True, help="train.jsonl of a synthesized data set")
    parser.add_argument("--micro-batch", type=int, default=32)
    variants.add_arguments(parser, steps=80, batch=16, max_tokens=64)
    arguments = parser.parse_args()
    changes = [f"stages.0.sources.0.path={arguments.records}", f"micro_batch={arguments.micro_batch}"]
    orders = {name: [f"stages.0.order={order}"] for name, order in ORDERS.items()}
    orders |= {name: [f"stages.0.order={order}", EGA_LOSS] for name, order in EGA.items()}
    variants.run(variants.Study("orders of hardness under the same training", RECIPE, changes, {"untrained": None, **orders}, SETS,
                                ["no hard negatives", "curriculum"]), arguments)


if __name__ == "__main__":
    main()
