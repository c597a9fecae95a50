"""Writes tiny-int8.onnx beside itself: a BERT of random weights in static int8, with exits after layers 1 and 2 and head weights.

    trainer/.venv/bin/python test/model/native/make-tiny-int8.py
"""

import random
import sys
import tempfile
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parents[2]))

from trainer.encoder import load_encoder  # noqa: E402
from trainer.export.bert_graph import build_bert_graph  # noqa: E402
from trainer.export.bert_weights import bert_weights  # noqa: E402
from trainer.export.calibration import observe  # noqa: E402
from trainer.export.int8_graph import StaticInt8  # noqa: E402
from trainer.export.int8_plan import plan_block  # noqa: E402
from trainer.tests.tiny import WORDS, tiny_bert  # noqa: E402

with tempfile.TemporaryDirectory() as folder:
    encoder = load_encoder(tiny_bert(Path(folder), hidden_size=64, num_attention_heads=2, intermediate_size=96, initializer_range=0.05))
    chosen = random.Random(1)
    texts = [" ".join(chosen.choices(WORDS, k=chosen.randrange(1, 60))) for _ in range(200)]
    weights = bert_weights(encoder)
    weights = type(weights)(**{**vars(weights), "head_weights": np.array([0.5, 1.5], np.float32)})
    seen = observe(encoder, texts)
    plans = [plan_block(weights, layer, seen) for layer in range(len(weights.blocks))]
    graph = build_bert_graph(weights, StaticInt8(weights, plans), exits=(1, 2))
    (FOLDER / "tiny-int8.onnx").write_bytes(graph.SerializeToString())
