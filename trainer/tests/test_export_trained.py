"""A trained model's version gives the vectors that sentence-transformers gives, under every pooling and for decoders."""

import json
from pathlib import Path

import onnxruntime
import pytest
import torch

from trainer.cli import main
from trainer.errors import InputError
from trainer.model import PoolingChoice, new_model, save_model
from trainer.tests.tiny import tiny_bert, tiny_mistral, tiny_qwen


def saved(base: Path, folder: Path, **choice: object) -> Path:
    """A model whose learned numbers are not where they started."""
    model = new_model(base, PoolingChoice(gamma=0.5, learn_gamma=True, learn_head_weights=True, latents=6, heads=4, **choice))
    with torch.no_grad():
        for i, parameter in enumerate(model[1].parameters()):
            parameter.add_(torch.linspace(-0.5, 0.5, parameter.numel()).view_as(parameter) + 0.1 * i)
    model.prompts["query"] = "query : "
    save_model(model, folder)
    return folder


def export(folder: Path, output: Path) -> dict:
    assert main(["export", "--model", str(folder), "--name", "tiny", "--version", "1", "--output", str(output)]) == 0
    return json.loads((output / "tiny" / "1" / "manifest.json").read_text())


@pytest.mark.parametrize("mode", ["ata", "last", "latent-attention", "multi-layer"])
def test_every_pooling_is_exported_as_it_was_trained(mode: str, tmp_path: Path) -> None:
    manifest = export(saved(tiny_bert(tmp_path / "base"), tmp_path / "model", mode=mode), tmp_path / "models")
    expected = "graph" if mode in ("latent-attention", "multi-layer") else mode
    assert manifest["pooling"]["mode"] == expected and manifest["batchInvariant"] and manifest["prompts"]["query"] == "query : "
    names = {output.name for output in onnxruntime.InferenceSession(str(tmp_path / "models/tiny/1/model.onnx")).get_outputs()}
    assert names == set(manifest["outputs"].values())
    assert ("sentenceEmbedding" in manifest["outputs"]) == (expected == "graph")


def test_learned_head_weights_are_folded_into_the_received_attention(tmp_path: Path) -> None:
    """The export itself checks the vectors; here, that the weights are in the graph and r still sums to tokens x heads only without them."""
    folder = saved(tiny_bert(tmp_path / "base"), tmp_path / "model", mode="ata")
    manifest = export(folder, tmp_path / "models")
    assert manifest["pooling"]["gamma"] == pytest.approx(json.loads((folder / "1_AnchorTokenAwarePooling" / "config.json").read_text())["gamma"], abs=1e-6)
    session = onnxruntime.InferenceSession(str(tmp_path / "models/tiny/1/model.onnx"))
    ids = torch.tensor([[2, 7, 9, 11, 3]]).numpy()
    (received,) = session.run(["received_attention"], {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0})
    assert received.sum() == pytest.approx(5 * 4, rel=1e-4), "each head gives a text of n tokens n, and the weights have mean 1"


def test_exits_of_a_trained_model_are_pooled_by_its_learned_head_weights(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = saved(tiny_bert(tmp_path / "base"), tmp_path / "model", mode="ata")
    arguments = ["export", "--model", str(folder), "--name", "tiny", "--version", "1", "--output", str(tmp_path / "models"), "--exit", "1", "--exit", "2"]
    assert main(arguments) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    parity = [event for event in events if event["event"] == "parity"]
    assert [event.get("layers") for event in parity] == [None, 1, 2] and all(event["max_difference"] < 1e-5 for event in parity)


@pytest.mark.parametrize(("base", "layers"), [(tiny_mistral, "all"), (tiny_qwen, "last")])
def test_a_decoder_is_exported_with_its_bidirectional_attention(base, layers: str, tmp_path: Path) -> None:
    manifest = export(saved(base(tmp_path / "base"), tmp_path / "model", mode="ata", layers=layers), tmp_path / "models")
    assert manifest["inputs"] == ["input_ids", "attention_mask"]


def test_matryoshka_sizes_of_the_run_go_into_the_manifest(tmp_path: Path) -> None:
    folder = saved(tiny_bert(tmp_path / "base"), tmp_path / "run" / "model", mode="mean")
    loss = {"name": "sum", "terms": [{"name": "matryoshka", "dimensions": [32, 8, 16], "inner": {"name": "ega"}}]}
    (tmp_path / "run" / "run.json").write_text(json.dumps({"recipe": {"base": "b", "license": "mit", "stages": [{"loss": loss}]}}))
    manifest = export(folder, tmp_path / "models")
    assert manifest["matryoshkaDimensions"] == [16, 8] and manifest["source"]["license"] == "mit"


def test_int8_keeps_learned_head_weights_and_is_refused_where_it_has_no_form(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = saved(tiny_bert(tmp_path / "base"), tmp_path / "model", mode="ata")
    arguments = ["export", "--model", str(folder), "--name", "tiny", "--output", str(tmp_path)]
    assert main([*arguments, "--version", "1", "--quantization", "int8-dynamic"]) == 0, "parity with the trained model was checked"
    assert main([*arguments, "--version", "2", "--gamma", "0.5"]) == InputError.exit_code
    assert "learned a weight for each head" in capsys.readouterr().err
    pooled = saved(tiny_bert(tmp_path / "base2"), tmp_path / "pooled", mode="multi-layer")
    assert main(["export", "--model", str(pooled), "--name", "tiny", "--version", "3", "--output", str(tmp_path), "--quantization", "int8"]) == InputError.exit_code
    assert "is made for BERT with a pooling by token weights" in capsys.readouterr().err
