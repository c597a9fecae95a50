"""Training throughput against sentence-transformers' stock trainer: same base, pairs, batch and threads, in turns.

    python bench/training/throughput.py --base MODEL --pairs FILE [--steps 12] [--rounds 3] [--threads 2] [--precision bf16] [--output FILE]

Tokens are those of the texts, padding not counted, so a trainer that pads less is the faster one. Each round trains every variant for
a few steps from the same base; a step's time is taken from the end of the one before it, and the first step is left out. Printed: the
median over rounds of tokens/s, and the ratio to the stock trainer.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments  # noqa: E402
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss  # noqa: E402
from transformers import TrainerCallback  # noqa: E402

from trainer.data.records import read_records  # noqa: E402
from trainer.finetune import finetune  # noqa: E402
from trainer.recipe import Recipe, from_fields  # noqa: E402

BATCH, MICRO_BATCH, MAX_TOKENS = 32, 16, 128
OURS = {"ours, mean": {"mode": "mean"}, "ours, ata": {"mode": "ata", "gamma": 0.5, "learn_gamma": True, "learn_head_weights": True}}
STOCK = "sentence-transformers, mean"


class StepTimes(TrainerCallback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: object, **__: object) -> None:
        self.ends.append(time.monotonic())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32", help="bf16 is autocast over float32 weights, for both trainers")
    parser.add_argument("--output", type=Path, help="a JSON file for what is printed")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        pairs = Path(folder) / "pairs.jsonl"
        records = [record for record, _ in zip(read_records(arguments.pairs, lambda _: None), range(arguments.steps * BATCH), strict=False)]
        pairs.write_text("".join(json.dumps({"query": record.query, "positive": record.positive}) + "\n" for record in records))
        tokens_a_step = _tokens(arguments.base, records) / arguments.steps
        rates: dict[str, list[float]] = {}
        for round_ in range(arguments.rounds):
            for name, pooling in OURS.items():
                output = Path(folder) / f"{name.replace(' ', '').replace(',', '-')}-{round_}"
                rates.setdefault(name, []).append(tokens_a_step / _ours(arguments, pairs, pooling, output))
            rates.setdefault(STOCK, []).append(tokens_a_step / _stock(arguments, records, Path(folder) / f"stock-{round_}"))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, values in rates.items():
        print(f"{name:30} {medians[name]:8.0f} tokens/s  {medians[name] / medians[STOCK]:.2f} of stock  rounds {[round(value) for value in values]}", file=sys.stderr)
    if arguments.output:
        about = {"batch": BATCH, "maxTokens": MAX_TOKENS, "steps": arguments.steps, "threads": arguments.threads, "precision": arguments.precision,
                 "pairs": arguments.pairs.name, "loadAverage": [round(load, 2) for load in os.getloadavg()],
                 "versions": {name: version(name) for name in ("torch", "transformers", "sentence-transformers")}}
        rows = {name: {"tokensPerSecond": round(medians[name]), "toStock": round(medians[name] / medians[STOCK], 3),
                       "rounds": [round(value) for value in values]} for name, values in rates.items()}
        arguments.output.write_text(json.dumps({**about, "trainers": rows}, indent=2) + "\n", encoding="utf-8")


def _ours(arguments: argparse.Namespace, pairs: Path, pooling: dict, output: Path) -> float:
    """Median seconds a step."""
    finetune(from_fields(Recipe, {
        "base": str(arguments.base), "output": str(output), "pooling": pooling, "max_tokens": MAX_TOKENS, "micro_batch": MICRO_BATCH, "device": "cpu", "precision": arguments.precision,
        "stages": [{"sources": [{"path": str(pairs)}], "steps": arguments.steps, "batch": BATCH}]}, ""))
    log = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return statistics.mean(line["seconds"] for line in log[1:])


def _stock(arguments: argparse.Namespace, records: list, output: Path) -> float:
    model = SentenceTransformer(str(arguments.base), device="cpu")
    model.max_seq_length = MAX_TOKENS
    times = StepTimes()
    data = Dataset.from_dict({"anchor": [record.query for record in records], "positive": [record.positive for record in records]})
    options = SentenceTransformerTrainingArguments(
        output_dir=str(output), per_device_train_batch_size=BATCH, max_steps=arguments.steps, learning_rate=2e-5, use_cpu=True, save_strategy="no",
        bf16=arguments.precision == "bf16", report_to=[], disable_tqdm=True, logging_strategy="no")
    trainer = SentenceTransformerTrainer(model=model, args=options, train_dataset=data, loss=MultipleNegativesRankingLoss(model), callbacks=[times])
    trainer.train()
    return statistics.mean(after - before for before, after in zip(times.ends, times.ends[1:], strict=False))


def _tokens(base: Path, records: list) -> int:
    tokenizer = SentenceTransformer(str(base), device="cpu").tokenizer
    texts = [text for record in records for text in (record.query, record.positive)]
    return sum(len(ids) for ids in tokenizer(texts, truncation=True, max_length=MAX_TOKENS)["input_ids"])


if __name__ == "__main__":
    main()
