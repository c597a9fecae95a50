"""A cross-encoder's scores: of the right pairs, kept with the records, and read by the losses that distil them."""

import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from trainer.cli import main
from trainer.data.records import read_records
from trainer.errors import InputError
from trainer.finetune import finetune
from trainer.interruption import Interrupted, StopSignal
from trainer.recipe import Recipe, from_fields
from trainer.scoring import CrossEncoderScorer, score_file
from trainer.tests.tiny import SIZES, WORDS, tiny_bert, tiny_tokenizer

RECORDS = [{"query": f"what {a}", "pos": [f"the {a} {b} ."], "neg": [f"the {b} {a} ?", f"{b} in {b}"], "neg_levels": [1, 2], "id": f"{a}-{b}"}
           for a in WORDS[4:14] for b in WORDS[14:24]]


def cross_encoder(folder: Path, outputs: int = 1) -> Path:
    """Randomly initialised, with weights large enough for scores to differ."""
    torch.manual_seed(3)
    model = BertForSequenceClassification(BertConfig(**SIZES, num_labels=outputs, hidden_dropout_prob=0.0, initializer_range=0.5))
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS[:50]) + '{"query": "no positive"}\n'
                    + "".join(json.dumps(record) + "\n" for record in RECORDS[50:]))
    return path


def test_every_positive_and_negative_gets_the_score_of_its_own_pair_and_a_run_distils_them(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = cross_encoder(tmp_path / "judge")
    arguments = ["score", "--cross-encoder", str(folder), "--data", str(data), "--output", str(tmp_path / "scored.jsonl"), "--max-tokens", "32"]
    assert main(arguments) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[-1]["records"] == 100 and [event["line"] for event in events if event["event"] == "warning"] == [51]
    rows = [json.loads(line) for line in (tmp_path / "scored.jsonl").read_text().splitlines()]
    assert [{key: row[key] for key in RECORDS[0]} for row in rows] == RECORDS
    model, tokenizer = BertForSequenceClassification.from_pretrained(folder).eval(), tiny_tokenizer()
    for row in rows[::17]:
        inputs = tokenizer([row["query"]] * 3, [*row["pos"], *row["neg"]], return_tensors="pt", padding=True)
        with torch.no_grad():
            expected = model(**inputs).logits[:, 0].tolist()
        assert [*row["pos_scores"], *row["neg_scores"]] == pytest.approx(expected, abs=1e-4)
    assert len({row["pos_scores"][0] for row in rows}) > 50, "the scores differ, or the comparison above says nothing"
    assert all(record.positive_score is not None and len(record.negative_scores) == 2 for record in read_records(tmp_path / "scored.jsonl", pytest.fail))
    assert main(arguments) == InputError.exit_code, "an existing file is never overwritten"
    finetune(from_fields(Recipe, {"base": str(tiny_bert(tmp_path / "base")), "output": str(tmp_path / "out"), "max_tokens": 32, "stages": [
        {"sources": [{"path": str(tmp_path / "scored.jsonl")}], "steps": 30, "batch": 20, "loss": {"name": "margin_mse"}}],
        "optimizer": {"learning_rate": 3e-3}}, ""))
    losses = [json.loads(line)["loss"] for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_a_stopped_run_goes_on_after_what_is_whole(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.scoring.BLOCK_RECORDS", 10)
    scorer, stop, asked = CrossEncoderScorer(cross_encoder(tmp_path / "judge"), 32, device="cpu"), StopSignal(), []

    class Stopping:
        def score(self, pairs: list[tuple[str, str]]) -> list[float]:
            asked.extend(pairs)
            stop.asked = len(asked) == 90
            return scorer.score(pairs)

    output = tmp_path / "scored"
    with pytest.raises(Interrupted, match="stopped after 30 records"):
        score_file(data, output, Stopping(), stop)
    output.write_text(output.read_text() + '{"query": "torn')
    assert score_file(data, output, Stopping(), StopSignal()) == 100
    assert [json.loads(line)["id"] for line in output.read_text().splitlines()] == [record["id"] for record in RECORDS]
    assert len(asked) == 300, "nothing is scored twice"


def test_what_is_no_cross_encoder_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 3 outputs"):
        CrossEncoderScorer(cross_encoder(tmp_path / "three", outputs=3))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is no cross-encoder"):
        CrossEncoderScorer(tmp_path / "empty")
