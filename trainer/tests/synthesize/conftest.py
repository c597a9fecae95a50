"""A corpus, a real ONNX encoder that is small enough to be made here, and settings to run with."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from chat_server import Behaviour, ChatServer
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from vocabulary import WORDS, passages

from trainer.synthesize.encoder import Encoder

DIMENSIONS = 48


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model version folder whose encoder adds up random word vectors: texts with the same words are similar."""
    folder = tmp_path_factory.mktemp("encoder")
    vocabulary = {word: i for i, word in enumerate(["[UNK]", "really", "is", "a", "what", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    table = np.random.default_rng(3).normal(size=(len(vocabulary), DIMENSIONS)).astype(np.float32)
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"]),
             helper.make_node("Cast", ["attention_mask"], ["received_attention"], to=TensorProto.FLOAT)]
    ids = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in ("input_ids", "attention_mask")]
    outputs = [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "tokens", DIMENSIONS]),
               helper.make_tensor_value_info("received_attention", TensorProto.FLOAT, ["batch", "tokens"])]
    graph = helper.make_graph(nodes, "words", ids, outputs, [numpy_helper.from_array(table, "table")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "model.onnx")
    manifest = {"name": "words", "version": "1", "fingerprint": "f" * 64, "dimensions": DIMENSIONS, "maxTokens": 512, "padTokenId": 0,
                "pooling": {"mode": "ata", "gamma": 1.0}, "quantization": "float32", "prompts": {"query": "", "document": ""},
                "inputs": ["input_ids", "attention_mask"], "outputs": {"hiddenStates": "last_hidden_state", "receivedAttention": "received_attention"}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="session")
def encoder(encoder_folder: Path) -> Encoder:
    return Encoder(encoder_folder, threads=1)


@pytest.fixture
def corpus_file(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in passages(120)))
    return path


@pytest.fixture
def chat_server() -> Iterator[Callable[..., ChatServer]]:
    """Starts servers; all are closed at the end."""
    servers: list[ChatServer] = []

    def start(behaviour: Behaviour | None = None, key: str = "") -> ChatServer:
        servers.append(ChatServer(behaviour, key))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.fixture
def settings(tmp_path: Path, encoder_folder: Path, corpus_file: Path) -> dict[str, Any]:
    """Keyword arguments of Settings for a small run."""
    return {"output": tmp_path / "dataset", "corpus": (corpus_file,), "encoder": encoder_folder, "encoder_threads": 1, "records": 12,
            "backoff_seconds": 0.01, "timeout_seconds": 5.0, "concurrency": 2, "license": "CC0-1.0"}

