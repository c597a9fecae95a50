"""An ONNX export turned back into a folder that PyTorch trains."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from transformers import BertModel

from trainer.cli import main
from trainer.graph_weights import graph_weights
from trainer.model import PoolingChoice, load_model, new_model, save_model
from trainer.poolings.anchor_token_aware import AnchorTokenAwarePooling
from trainer.tests.tiny import SIZES, tiny_bert, tiny_tokenizer


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A version as `npm run model -- import` leaves it: a traced graph, its tokenizer, a manifest."""
    base = tiny_bert(tmp_path / "base", hidden_size=384, num_attention_heads=12, num_hidden_layers=2)
    _draw_vectors(base)
    folder = tmp_path / "version"
    folder.mkdir()
    model = BertModel.from_pretrained(base, attn_implementation="eager", add_pooling_layer=False).eval()
    names = ["input_ids", "attention_mask", "token_type_ids"]
    axes = {name: {0: "batch", 1: "tokens"} for name in [*names, "last_hidden_state"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(_Traced(model), tuple(torch.ones(2, 7, dtype=torch.long) for _ in names), str(folder / "model.onnx"), input_names=names,
                          output_names=["last_hidden_state"], dynamic_axes=axes, opset_version=17, dynamo=False)
    tiny_tokenizer().backend_tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "manifest.json").write_text(json.dumps({
        "name": "tiny", "version": "1", "dimensions": 384, "maxTokens": SIZES["max_position_embeddings"], "pooling": {"mode": "cls"}, "normalize": True,
        "inputs": names, "outputs": {"hiddenStates": "last_hidden_state"}, "padTokenId": 0, "paddingSide": "right", "prompts": {"query": "query :"},
        "quantization": "float32"}))
    return folder


def _draw_vectors(base: Path) -> None:
    """Biases and norms of their own, as trained ones are: equal tensors would be written once, under one name."""
    model = BertModel.from_pretrained(base)
    generator = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(base)


class _Traced(torch.nn.Module):
    """Weights keep the names that BertModel gives them."""

    def __init__(self, model: BertModel) -> None:
        super().__init__()
        self.embeddings, self.encoder = model.embeddings, model.encoder

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor) -> torch.Tensor:
        mask = (1.0 - attention_mask[:, None, None, :].float()) * -1e4
        return self.encoder(self.embeddings(input_ids=input_ids, token_type_ids=token_type_ids), attention_mask=mask).last_hidden_state


def test_a_traced_bert_comes_back_weight_by_weight_and_loads_with_its_pooling_and_prompts(version: Path, tmp_path: Path) -> None:
    assert main(["base", "--version", str(version), "--output", str(tmp_path / "back")]) == 0
    model = load_model(tmp_path / "back")
    theirs = BertModel.from_pretrained(tmp_path / "base", add_pooling_layer=False).state_dict()
    ours = model[0].model.state_dict()
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight)
    assert model.prompts["query"] == "query :" and model[1].pooling_mode == "cls"
    assert not list(tmp_path.glob("*.new"))


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_what_our_exporter_wrote_comes_back_up_to_its_rounding(quantization: str, tmp_path: Path) -> None:
    base = tiny_bert(tmp_path / "base", intermediate_size=128)
    _draw_vectors(base)
    whole = new_model(base, PoolingChoice(mode="ata", gamma=0.5))
    whole[1] = AnchorTokenAwarePooling(32, 4, 0.5, [0.4, 0.8, 1.2, 1.6])
    save_model(whole, tmp_path / "model")
    assert main(["export", "--model", str(tmp_path / "model"), "--name", "tiny", "--version", "1", "--quantization", quantization,
                 "--output", str(tmp_path / "models")]) == 0
    assert main(["base", "--version", str(tmp_path / "models" / "tiny" / "1"), "--output", str(tmp_path / "back")]) == 0
    model = load_model(tmp_path / "back")
    assert model[1].gamma == pytest.approx(0.5) and model[1].head_weights == pytest.approx([0.4, 0.8, 1.2, 1.6], abs=1e-3)
    theirs = BertModel.from_pretrained(base, add_pooling_layer=False).state_dict()
    ours = model[0].model.state_dict()
    for name, weight in theirs.items():
        if quantization == "float32":
            torch.testing.assert_close(ours[name], weight)
        elif not any(part in name for part in ("value", "attention.output.dense")):  # equalization has moved a factor between these
            assert torch.cosine_similarity(ours[name].flatten(), weight.flatten(), dim=0) > 0.99, name


def test_what_is_there_is_not_written_over_and_what_is_no_bert_is_refused(version: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "back").mkdir()
    assert main(["base", "--version", str(version), "--output", str(tmp_path / "back")]) != 0
    assert "there already" in capsys.readouterr().err
    import onnx

    graph = onnx.load(str(version / "model.onnx"))
    for item in graph.graph.initializer:
        item.name = "w" + item.name
    for node in graph.graph.node:
        for i, name in enumerate(node.input):
            if any(item.name == "w" + name for item in graph.graph.initializer):
                node.input[i] = "w" + name
    onnx.save(graph, str(version / "model.onnx"))
    with pytest.raises(Exception, match="no BERT layers"):
        graph_weights(version / "model.onnx")
