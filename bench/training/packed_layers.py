"""An encoder's layers forward and backward on one core: native over packed texts, PyTorch's over the same in padded micro-batches, in turns.

    python bench/training/packed_layers.py --base MODEL --texts FOLDER [--chunks 32] [--rounds 7] [--output FILE]

MODEL is a BERT folder, FOLDER has files of JSON lines as `trainer shorten` reads them. Chunks of up to 512 tokens are drawn; PyTorch gets the texts of four chunks at a time, in
micro-batches of like length as `finetune` makes them, under bfloat16 autocast with our attention (trainer/poolings/anchor_token_aware.py). Gradients go back from the last hidden states
to the layers' weights. Tokens are those of the texts, padding not counted. Printed: the median over rounds of tokens/s, and of each round's ratio.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from trainer.batch_gradients import length_sorted  # noqa: E402
from trainer.bert_layers import BertLayers, Packing  # noqa: E402
from trainer.model import PoolingChoice, new_model  # noqa: E402
from trainer.packed_texts import packed_texts  # noqa: E402
from trainer.wanted_states import CHUNK_TOKENS, Reader  # noqa: E402

MAX_TOKENS, MICRO_BATCH, TOKENS_STEP = 256, 8, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--chunks", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, help="a JSON file for what is printed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        texts = packed_texts([arguments.texts], arguments.base / "tokenizer.json", MAX_TOKENS, Path(folder) / "texts.npz")
    rows = next(texts.batches(arguments.chunks * CHUNK_TOKENS, 1, 0))
    tokens = sum(texts.lengths(rows))
    model = new_model(arguments.base, PoolingChoice(mode="ata"), MAX_TOKENS).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    reader = Reader(arguments.base, MAX_TOKENS)
    packing = Packing(BertLayers(model[0].model), native=True)
    run, gradients = packing.run(CHUNK_TOKENS, MAX_TOKENS, backward=True), torch.zeros_like(packing.layers.weights)
    model[0].model.embeddings.requires_grad_(False)

    def native() -> None:
        for chunk in texts.chunks(rows, CHUNK_TOKENS):
            embedded = reader.embedded([texts[row] for row in chunk])
            states, received = run.forward(embedded, texts.lengths(chunk))
            wanted = torch.zeros(states.shape)
            wanted[-1, : len(embedded)] = states[-1, : len(embedded)].float()
            run.backward(wanted, torch.zeros_like(received), gradients)

    def pytorch() -> None:
        for start in range(0, len(rows), 64):
            some = rows[start : start + 64]
            for chunk in length_sorted(texts.lengths(some), MICRO_BATCH, MAX_TOKENS):
                own = [torch.from_numpy(texts[some[number]]).long() for number in chunk]
                longest = max(map(len, own))
                ids = torch.zeros(len(own), min(MAX_TOKENS, longest + -longest % TOKENS_STEP), dtype=torch.long)
                mask = torch.zeros_like(ids)
                for row, one in enumerate(own):
                    ids[row, : len(one)], mask[row, : len(one)] = one, 1
                with torch.autocast("cpu", torch.bfloat16):
                    found = model[0]({"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)})
                states = found["token_embeddings"].float()
                (0.5 * (states * mask[..., None]).square().sum()).backward()

    ways: dict[str, Callable[[], None]] = {"native, packed": native, "PyTorch, padded": pytorch}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for one in ways.values():
        one()
    for _ in range(arguments.rounds):
        for name, one in ways.items():
            began = time.perf_counter()
            one()
            rates[name].append(tokens / (time.perf_counter() - began))
    ratios = [ours / theirs for ours, theirs in zip(*rates.values(), strict=True)]
    found = {"tokens": tokens, "tokensPerSecond": {name: round(statistics.median(own)) for name, own in rates.items()},
             "rounds": {name: [round(rate) for rate in own] for name, own in rates.items()}, "ratio": round(statistics.median(ratios), 2)}
    print(json.dumps(found, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
