"""Shortening a tiny BERT: that it learns, goes on to the same model after a stop, and refuses what it cannot do."""

import argparse
import gzip
import itertools
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainer import shorten
from trainer.bert_layers import Packing
from trainer.checkpoint import DiskFull
from trainer.errors import InputError
from trainer.interruption import Interrupted
from trainer.model import PoolingChoice, load_model, new_model
from trainer.packed_texts import PackedTexts, packed_texts
from trainer.tests.tiny import WORDS, tiny_bert
from trainer.wanted_states import Further, KeptStates, Reader

WIDE = {"hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 96, "num_hidden_layers": 4}


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    generator = np.random.default_rng(1)
    rows = [{"query": " ".join(generator.choice(WORDS, 5)), "positive": " ".join(generator.choice(WORDS, int(generator.integers(3, 30))))} for _ in range(300)]
    with gzip.open(folder / "some.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "more.jsonl").write_text(json.dumps({"text": "the red cat sleeps"}) + "\n")
    return folder


def arguments(base: Path, texts: Path, output: Path, **changes: Any) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    shorten.add_arguments(parser)
    words = {"encoder": base, "texts": texts, "output": output, "tokens": 12_000, "step-tokens": 400, "checkpoint-every": 5, **changes}
    keep = words.pop("keep", [0, 2])
    flags = [str(part) for name, value in words.items() for part in (f"--{name}", value)]
    return parser.parse_args([*flags, "--keep", *map(str, keep)])


def vectors(folder: Path) -> torch.Tensor:
    model = load_model(folder)
    return model.encode(["the red cat sleeps", "where is the river", "a dog runs over the tree ."], convert_to_tensor=True)


def test_a_shortened_encoder_is_nearer_to_the_whole(tmp_path: Path, texts: Path) -> None:
    base = tiny_bert(tmp_path / "base", **WIDE)
    output = tmp_path / "out"
    shorten.run(arguments(base, texts, output, license="mit"))
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert len(lines) == 30
    assert np.mean([line["loss"] for line in lines[-5:]]) < 0.75 * lines[0]["loss"]

    texts_seen = ["the red cat sleeps", "where is the river", "a dog runs over the tree ."]
    whole = new_model(base, PoolingChoice(mode="mean")).encode(texts_seen, convert_to_tensor=True)
    broken = new_model(base, PoolingChoice(mode="mean"), keep_layers=[0, 2]).encode(texts_seen, convert_to_tensor=True)
    mended = vectors(output / "model")
    assert float((mended * whole).sum(dim=1).mean()) > float((broken * whole).sum(dim=1).mean()) + 0.05

    facts = json.loads((output / "run.json").read_text())
    assert facts["steps"] == 30 and facts["gamma"] != pytest.approx(0.1)
    assert "license: mit" in (output / "model" / "README.md").read_text()
    assert not (output / "wanted.bf16").exists()


def test_a_stopped_run_goes_on_to_the_same_model(tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny_bert(tmp_path / "base", **WIDE)
    shorten.run(arguments(base, texts, tmp_path / "through"))
    step, steps = shorten.Student.step, []

    def stopping(self: shorten.Student, *given: Any) -> shorten.Found:
        steps.append(1)
        if len(steps) == 13:
            signal.raise_signal(signal.SIGTERM)
        return step(self, *given)

    monkeypatch.setattr(shorten.Student, "step", stopping)
    with pytest.raises(Interrupted, match="after step 13 of 30"):
        shorten.run(arguments(base, texts, tmp_path / "stopped"))
    shorten.run(arguments(base, texts, tmp_path / "stopped"))
    assert len(steps) == 30
    assert torch.equal(vectors(tmp_path / "stopped" / "model"), vectors(tmp_path / "through" / "model"))


def test_a_run_goes_on_with_its_own_settings_alone(tmp_path: Path, texts: Path) -> None:
    base = tiny_bert(tmp_path / "base", **WIDE)
    shorten.run(arguments(base, texts, tmp_path / "out", tokens=800))
    with pytest.raises(InputError, match="another seed"):
        shorten.run(arguments(base, texts, tmp_path / "out", tokens=800, seed=2))


def test_a_run_begins_where_another_ended(tmp_path: Path, texts: Path) -> None:
    base = tiny_bert(tmp_path / "base", **WIDE)
    shorten.run(arguments(base, texts, tmp_path / "first"))
    shorten.run(arguments(base, texts, tmp_path / "second", start=tmp_path / "first" / "model", tokens=1600))
    first, second = ([json.loads(line)["loss"] for line in (tmp_path / name / "log.jsonl").read_text().splitlines()] for name in ("first", "second"))
    assert second[0] < 0.9 * first[0]
    assert second[0] == pytest.approx(first[-1], rel=0.1)
    assert json.loads((tmp_path / "second" / "run.json").read_text())["gamma"] != pytest.approx(0.1)
    with pytest.raises(InputError, match="cannot be gone on from"):
        shorten.run(arguments(base, texts, tmp_path / "other", start=tmp_path / "first" / "model", keep=[0, 1, 2]))
    with pytest.raises(InputError, match="no modules.json"):
        shorten.run(arguments(base, texts, tmp_path / "none", start=base, tokens=800))


def test_a_run_passes_over_what_its_start_has_seen(tmp_path: Path, texts: Path) -> None:
    base = tiny_bert(tmp_path / "base", **WIDE)
    seen: dict[str, list[list[int]]] = {}
    step = shorten.Student.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shorten.Student, "step", lambda self, rows, *given: seen.setdefault(self.arguments.output.name, []).append(list(rows)) or step(self, rows, *given))
        shorten.run(arguments(base, texts, tmp_path / "through", tokens=2000))
        shorten.run(arguments(base, texts, tmp_path / "first", tokens=800))
        shorten.run(arguments(base, texts, tmp_path / "second", start=tmp_path / "first" / "model", skip=800, tokens=1200))
    assert seen["first"] + seen["second"] == seen["through"]
    assert len(seen["second"]) == 3


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_shortened_encoder_can_be_pooled_otherwise(tmp_path: Path, texts: Path, pooling: str) -> None:
    base = tiny_bert(tmp_path / "base", **WIDE)
    shorten.run(arguments(base, texts, tmp_path / "out", pooling=pooling))
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert np.mean([line["loss"] for line in lines[-5:]]) < 0.75 * lines[0]["loss"]
    assert load_model(tmp_path / "out" / "model")[1].pooling_mode == pooling
    assert json.loads((tmp_path / "out" / "run.json").read_text())["gamma"] is None
    shorten.run(arguments(base, texts, tmp_path / "more", pooling=pooling, start=tmp_path / "out" / "model", tokens=400))
    with pytest.raises(InputError, match="pooled by ata"):
        shorten.run(arguments(base, texts, tmp_path / "other", start=tmp_path / "out" / "model", tokens=400))


def test_states_of_texts_that_come_once_are_not_kept(tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny_bert(tmp_path / "base", **WIDE)
    monkeypatch.setattr(shorten.Student, "save", lambda self, path, step: kept.append(isinstance(self.wanted, KeptStates)))
    kept: list[bool] = []
    for tokens in (800, 12_000):
        shorten.run(arguments(base, texts, tmp_path / str(tokens), tokens=tokens))
    assert (kept[0], kept[-1]) == (False, True)


def test_what_cannot_be_is_refused(tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny_bert(tmp_path / "base", **WIDE)
    with pytest.raises(InputError, match="no config.json"):
        shorten.run(arguments(tmp_path / "nothing", texts, tmp_path / "out"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no texts"):
        shorten.run(arguments(base, tmp_path / "empty", tmp_path / "empty-out"))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "one.jsonl").write_text("[1, 2]\n")
    with pytest.raises(InputError, match="one.jsonl is no file of JSON objects"):
        shorten.run(arguments(base, tmp_path / "bad", tmp_path / "bad-out"))
    with pytest.raises(InputError, match="FOLDER=SHARE"):
        shorten.run(arguments(base, texts, tmp_path / "also", also=str(base)))
    monkeypatch.setattr(shorten.shutil, "disk_usage", lambda folder: argparse.Namespace(free=10))
    with pytest.raises(DiskFull, match="give fewer texts"):
        shorten.run(arguments(base, texts, tmp_path / "full"))


def test_a_further_teacher_is_turned_to_the_whole_and_moves_by_its_share(tmp_path: Path, texts: Path) -> None:
    base = tiny_bert(tmp_path / "base", **WIDE)
    packed = packed_texts([texts], base / "tokenizer.json", 64, tmp_path / "texts.npz")
    whole = Reader(base, 64)
    rows = packed.chunks(range(40), 512)[0]
    own = whole.vectors(packed, rows, whole.run())
    moved = Further([(Reader(base, 64), 0.3)], whole, packed, tmp_path / "further.npz")(rows, [whole.run()])
    # The same encoder as its own further teacher needs no turn: it moves every text away from the mean.
    apart = own - own.mean(dim=0)
    cosines = torch.nn.functional.cosine_similarity(moved, apart)
    assert float(cosines.mean()) > 0.9
    twice = Further([(Reader(base, 64), 0.6)], whole, packed, tmp_path / "twice.npz")(rows, [whole.run()])
    assert torch.allclose(twice, 2 * moved, atol=1e-4)


def test_all_texts_are_dealt_out_before_any_comes_again() -> None:
    lengths = np.random.default_rng(0).integers(1, 20, 100)
    texts = PackedTexts(np.arange(lengths.sum()), np.cumsum(lengths))
    batches = texts.batches(50, seed=1, skipped=0)
    drawn: list[int] = []
    while len(drawn) < 100:
        batch = next(batches)
        assert 50 <= sum(texts.lengths(batch)) < 70
        drawn += batch
    assert sorted(drawn[:100]) == list(range(100))
    again = texts.batches(50, seed=1, skipped=3)
    assert next(again) == next(itertools.islice(texts.batches(50, seed=1, skipped=0), 3, None))
    for chunk in (chunks := texts.chunks(range(100), 64)):
        assert sum(texts.lengths(chunk)) <= 64
    assert [row for chunk in chunks for row in chunk] == list(range(100))


def test_pytorch_alone_does_the_same(tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny_bert(tmp_path / "base", **WIDE)
    begin = Packing.__init__
    monkeypatch.setattr(Packing, "__init__", lambda self, layers, native=None: begin(self, layers, native=False))
    shorten.run(arguments(base, texts, tmp_path / "out", tokens=4000))
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["native"] is False
