"""Mining: bands by similarity, ceilings by the positive, the same however it is cut into blocks."""

import json
from pathlib import Path

import numpy as np
import pytest

from trainer import mining
from trainer.cli import main
from trainer.data.records import read_records
from trainer.errors import InputError
from trainer.mining import Levels, pick
from trainer.model import PoolingChoice, new_model, save_model
from trainer.tests.tiny import tiny_bert


def circle(degrees: np.ndarray) -> np.ndarray:
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


@pytest.fixture
def corpus() -> np.ndarray:
    """A text every half degree from 0 to 90 of the query."""
    return circle(np.arange(0, 90, 0.5))


@pytest.mark.parametrize("block", [7, 1000])
def test_each_level_comes_from_its_band_below_the_ceiling_and_never_near_the_positive(block: int, corpus: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mining, "TEXT_BLOCK", block)
    queries, positives = circle(np.zeros(200)), circle(np.full(200, -20.0))  # positive at cosine 0.94, on the other side
    rows, similarities = pick(queries, positives, corpus.astype(np.float16), Levels(count=3, ratio=0.95), np.random.default_rng(0))
    ceiling = 0.95 * np.cos(np.deg2rad(20))
    floor = np.median(np.cos(np.deg2rad(np.arange(0, 90, 0.5))))
    edges = np.linspace(floor, ceiling, 4)
    assert (rows >= 0).all()
    for level in range(3):
        assert (similarities[:, level] >= edges[level] - 2e-3).all() and (similarities[:, level] < edges[level + 1] + 2e-3).all()
        assert len(set(rows[:, level])) > 5, "queries draw different texts of the band"


def test_a_text_that_says_what_the_positive_says_is_not_taken() -> None:
    queries, positives = circle(np.array([0.0])), circle(np.array([30.0]))
    near = circle(np.array([31.0, 32.0, 33.0, 90.0, 89.0, 88.0, 87.0]))  # all but the last are within 0.95 of the positive
    rows, _ = pick(queries, positives, near, Levels(count=1, ratio=1.0), np.random.default_rng(0))
    assert rows[0, 0] not in (0, 1, 2)


def test_a_positive_less_similar_than_the_corpus_gets_no_negatives(corpus: np.ndarray) -> None:
    rows, _ = pick(circle(np.array([0.0])), circle(np.array([85.0])), corpus, Levels(), np.random.default_rng(0))
    assert (rows == -1).all()


def test_the_command_writes_records_that_training_reads(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model = new_model(tiny_bert(tmp_path / "base"), PoolingChoice(mode="mean"))
    save_model(model, tmp_path / "model")
    words = "red green blue cat dog bird tree house river runs sleeps sings".split()
    pairs = [{"query": f"{a} {b}", "positive": f"the {a} {b} {c} ."} for a in words for b in words for c in ("is", "near") if a != b]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    arguments = ["mine", "--encoder", str(tmp_path / "model"), "--data", str(tmp_path / "pairs.jsonl"), "--output", str(tmp_path / "out" / "mined.jsonl")]
    assert main(arguments) == 0
    done = json.loads(capsys.readouterr().out.splitlines()[-1])
    records = list(read_records(tmp_path / "out" / "mined.jsonl", pytest.fail))
    assert len(records) == done["records"] > 50 and done["negatives"] == sum(len(record.negatives) for record in records)
    assert done["levelSimilarities"] == sorted(done["levelSimilarities"]), "harder levels are more similar"
    assert main(arguments) == InputError.exit_code, "an existing file is never overwritten"


def test_what_answers_a_query_elsewhere_is_no_negative_of_it(tmp_path: Path) -> None:
    save_model(new_model(tiny_bert(tmp_path / "base"), PoolingChoice(mode="mean")), tmp_path / "model")
    words = "red green blue cat dog bird tree house river runs sleeps sings".split()
    pairs = [{"query": a, "positive": f"the {a} {b} {c} ."} for a in words for b in words for c in ("is", "near") if a != b]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    output = tmp_path / "mined.jsonl"
    assert main(["mine", "--encoder", str(tmp_path / "model"), "--data", str(tmp_path / "pairs.jsonl"), "--output", str(output)]) == 0
    answers = {(pair["query"], pair["positive"]) for pair in pairs}
    mined = [(record.query, negative) for record in read_records(output, pytest.fail) for negative in record.negatives]
    assert mined and not answers & set(mined)
