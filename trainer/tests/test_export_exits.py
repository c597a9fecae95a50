"""Early exits: one file, and after each exit the vectors that PyTorch has there, without the layers behind it."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from trainer.cli import main
from trainer.encoder import load_encoder
from trainer.export.bert_graph import Float32, build_bert_graph
from trainer.export.bert_weights import bert_weights
from trainer.export.parity import reference_embeddings
from trainer.session import EncoderSession
from trainer.tests.tiny import tiny_bert, tiny_mpnet

TEXTS = ["the red cat sleeps .", "where does a blue bird go ?", "green house", "two dogs near the river !"]


def export(model: Path, output: Path, *extra: str) -> int:
    return main(["export", "--model", str(model), "--name", "tiny", "--version", "1", "--gamma", "1", "--output", str(output), *extra])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("exits") / "base")


@pytest.fixture(scope="module")
def version(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("models")
    assert export(base, output, "--exit", "2:16,32", "--exit", "1") == 0
    return output / "tiny" / "1"


def test_the_manifest_lists_the_exits_with_their_sizes(version: Path) -> None:
    manifest = json.loads((version / "manifest.json").read_text())
    assert manifest["exits"] == [{"layers": 1, "dimensions": [32]}, {"layers": 2, "dimensions": [32, 16]}]


@pytest.mark.parametrize("layers", [1, 2, 0])
def test_after_each_exit_the_vectors_are_those_of_pytorch(layers: int, base: Path, version: Path) -> None:
    encoder = load_encoder(base)
    rows = [encoder.token_ids(text) for text in TEXTS]
    expected = reference_embeddings(encoder, rows, 1.0, layers)
    found = EncoderSession(version / "model.onnx", layers=layers).embed(rows, 1.0)
    assert (found - expected).abs().max().item() < 1e-5
    assert torch.nn.functional.cosine_similarity(found, reference_embeddings(encoder, rows, 1.0, layers=3 - (layers or 3) or 1)).min() < 0.999


def test_an_exit_spares_the_layers_behind_it(version: Path, tmp_path: Path) -> None:
    counts = {}
    for layers in (1, 2, 0):
        options = onnxruntime.SessionOptions()
        options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / f"exit{layers}")
        session = onnxruntime.InferenceSession(str(version / "model.onnx"), options, providers=["CPUExecutionProvider"])
        ids = np.array([[2, 5, 6, 3]])
        session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids), "layers": np.array([layers])})
        events = json.loads(Path(session.end_profiling()).read_text())
        counts[layers] = Counter(event["args"]["op_name"] for event in events if event.get("name", "").endswith("_kernel_time"))
    assert [counts[layers]["LayerNormalization"] for layers in (1, 2, 0)] == [3, 5, 7]


def test_the_file_grows_by_the_exits_alone(base: Path, version: Path) -> None:
    plain = len(build_bert_graph(bert_weights(load_encoder(base)), Float32(bert_weights(load_encoder(base)))).SerializeToString())
    assert (version / "model.onnx").stat().st_size < 1.5 * plain


@pytest.mark.parametrize(("extra", "message"), [
    (["--exit", "3"], "--exit 3 must lie between 1 and 2"),
    (["--exit", "1:64"], "--exit 1: the dimensions must lie between 1 and 32"),
    (["--exit", "1", "--exit", "1"], "--exit names a layer twice"),
    (["--exit", "1", "--quantization", "int8-dynamic"], "--exit is made for BERT with GELU in float32 or int8"),
])
def test_exits_that_cannot_be_are_refused(extra: list[str], message: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert export(base, tmp_path, *extra) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "tiny" / "1").exists()


def test_other_architectures_have_no_exits(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert export(tiny_mpnet(tmp_path / "mpnet"), tmp_path / "models", "--exit", "1") == 2
    assert "--exit is made for BERT" in capsys.readouterr().err
