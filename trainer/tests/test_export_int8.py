"""Static int8: its parts against plain arithmetic, and the committed model against PyTorch."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from trainer.cli import main
from trainer.encoder import load_encoder
from trainer.export.bert_weights import Linear
from trainer.export.calibration import read_calibration_texts
from trainer.export.int8_graph import build_int8_graph
from trainer.export.int8_plan import equalize, gelu, split_outliers, with_copies
from trainer.export.int8_rounding import round_weight, round_weight_for, scale_for
from trainer.session import EncoderSession
from trainer.tests.test_export import COMMITTED, WEIGHTS
from trainer.tests.tiny import tiny_bert, tiny_mpnet

GENERATOR = np.random.default_rng(5)
WORDS = ["the red cat sleeps .", "where does a blue bird go ?", "green house", "two dogs near the river !", "one"]


def test_a_scale_keeps_zero_exact_and_saturates_beyond_its_range() -> None:
    scale = scale_for(-0.17, 4.0)
    values = np.array([0.0, -0.17, 3.99, 7.0, -3.0], np.float32)
    rounded = scale.round(values)
    assert rounded[0] == 0 and rounded[3] == pytest.approx(scale.top)
    np.testing.assert_allclose(rounded[:3], values[:3], atol=scale.step)


def test_rounding_against_correlated_inputs_loses_less_than_rounding_to_nearest() -> None:
    inputs = (GENERATOR.normal(size=(900, 6)) @ GENERATOR.normal(size=(6, 64)) + 0.1 * GENERATOR.normal(size=(900, 64))).astype(np.float32)
    weight = GENERATOR.normal(size=(64, 32))
    errors = [np.square(inputs @ (codes * steps) - inputs @ weight).sum()
              for codes, steps in (round_weight(weight), round_weight_for(weight, inputs))]
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("rounding", [round_weight, lambda weight: round_weight_for(weight, GENERATOR.normal(size=(300, len(weight))))], ids=["nearest", "against inputs"])
@pytest.mark.parametrize("inputs", [64, 65])
def test_pairs_of_codes_cannot_saturate_sixteen_bits(rounding, inputs: int) -> None:
    weight = GENERATOR.normal(size=(inputs, 40))
    weight[6:8, 3] = weight[8:10, 4] = [5.0, 4.9]  # neighbours of one sign, both far out
    weight[8:10, 4] *= -1
    codes = rounding(weight)[0].astype(int)
    pairs = np.concatenate([codes, np.zeros((inputs % 2, 40), int)]).reshape(-1, 2, 40)
    assert (255 * np.maximum(pairs, 0).sum(axis=1)).max() < 2**15 and (255 * np.maximum(-pairs, 0).sum(axis=1)).max() <= 2**15
    assert np.abs(codes).max() > 60


def test_equalization_is_exact_before_rounding_and_evens_out_an_outlier_channel() -> None:
    values = GENERATOR.normal(size=(500, 16)).astype(np.float32)
    values[:, 3] *= 40
    linear = Linear(GENERATOR.normal(size=(16, 8)).astype(np.float32), np.zeros(8))
    found = equalize(linear, values, values[:5])
    np.testing.assert_allclose((values * found.factors) @ (linear.weight / found.factors[:, None]), values @ linear.weight, rtol=1e-4, atol=1e-3)
    plain = scale_for(values.min(), values.max())
    error = [np.square(rounded @ linear.weight - values @ linear.weight).sum()
             for rounded in (plain.round(values), found.scale.round(values * found.factors) / found.factors)]
    assert error[1] < 0.1 * error[0]


def test_saturated_copies_add_up_to_the_outlier_neuron() -> None:
    values = GENERATOR.normal(size=(800, 16)).astype(np.float32)
    intermediate = Linear(0.3 * GENERATOR.normal(size=(16, 64)).astype(np.float32), np.zeros(64, np.float32))
    intermediate.weight[:, 7] *= 8  # one neuron far beyond the others
    output = Linear(GENERATOR.normal(size=(64, 8)).astype(np.float32), np.zeros(8))
    scale, copies = split_outliers(intermediate, output, values, values[:5])
    wide, narrow = with_copies(intermediate, output, copies)
    wanted = gelu(values @ intermediate.weight) @ output.weight
    highest = gelu(values @ intermediate.weight).max()
    assert scale.top < 0.7 * highest and 7 in copies.sources
    split = scale.round(gelu(values @ wide.weight + wide.bias)) @ narrow.weight
    plain = scale_for(-0.17, highest).round(gelu(values @ intermediate.weight)) @ output.weight
    assert np.square(split - wanted).mean() < 0.7 * np.square(plain - wanted).mean()


def test_a_static_int8_graph_gives_a_text_one_vector_in_any_batch(tmp_path: Path) -> None:
    encoder = load_encoder(tiny_bert(tmp_path / "bert"))
    onnx.save(build_int8_graph(encoder, WORDS), tmp_path / "int8.onnx")
    session = EncoderSession(tmp_path / "int8.onnx", threads=1)
    rows = [encoder.token_ids(text) for text in WORDS]
    together = session.embed(rows, 0.5)
    alone = torch.cat([session.embed([row], 0.5) for row in rows])
    assert torch.nn.functional.cosine_similarity(together, alone).min() > 0.9999


def test_static_int8_of_another_architecture_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tiny_mpnet(tmp_path / "mpnet")
    arguments = ["export", "--model", str(folder), "--name", "tiny", "--version", "1", "--gamma", "1", "--output", str(tmp_path / "models"), "--quantization", "int8"]
    assert main(arguments) == 2
    assert "is MPNetModel: take --quantization int8-dynamic or float32" in capsys.readouterr().err


def test_calibration_draws_evenly_from_each_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": f"a{i}"}) + "\n" for i in range(1000)))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"query": f"bq{i}", "positive": f"bp{i}"}) + "\n" for i in range(1000)))
    drawn = read_calibration_texts([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    assert sum(text.startswith("a") for text in drawn) == sum(text.startswith("b") for text in drawn) == 240


def test_the_committed_int8_model_keeps_its_promises(tmp_path: Path) -> None:
    """0.998 of PyTorch's cosine on average, the same vector in any batch; and the report that says so is written."""
    data = tmp_path / "eval"
    (data / "stsb").mkdir(parents=True)
    (data / "stsb/test.tsv").write_text("score\tsentence1\tsentence2\n5\ta cat\tthe cat\n0\ta cat\tstock prices fell\n2\ta cat\ta dog\n")
    (data / "nq_oracle/qrels").mkdir(parents=True)
    (data / "nq_oracle/corpus.jsonl").write_text('{"_id": "1", "text": "Paris is the capital of France."}\n{"_id": "2", "text": "Rust is iron oxide."}\n')
    (data / "nq_oracle/queries.jsonl").write_text('{"_id": "q", "text": "what is the capital of france"}\n')
    (data / "nq_oracle/qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t1\t1\n")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- quantization table -->\nold\n<!-- end of quantization table -->\nafter\n")
    arguments = ["quantization-report", "--model", str(WEIGHTS), "--version", str(COMMITTED), "--eval-data", str(data), "--rounds", "1", "--output", str(tmp_path / "report.json"), "--page", str(page)]
    assert main(arguments) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    (judged,) = report["versions"]
    parity = judged["parity"]
    assert parity["mean_cosine"] >= 0.998 and parity["min_cosine"] >= 0.995 and parity["batch_min_cosine"] >= 0.9999
    assert judged["nqOracleNdcgAt10"] == 100 and judged["stsbSpearman"] > 50
    assert "old" not in page.read_text() and "| 1-int8 | 23." in page.read_text() and page.read_text().endswith("after\n")
