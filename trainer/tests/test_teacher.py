"""A teacher's vectors: asked for once, kept through crashes, and the same to a run as the teacher itself."""

import json
from pathlib import Path

import numpy as np
import pytest

from trainer.cli import main
from trainer.data.store import open_stores
from trainer.errors import InputError
from trainer.evaluate.encoders import open_encoder
from trainer.finetune import finetune
from trainer.interruption import Interrupted, StopSignal
from trainer.model import PoolingChoice, new_model, save_model
from trainer.recipe import load_recipe
from trainer.teach import fill
from trainer.teacher import TeacherCache, TextAndRole, ask_teacher, open_teachers
from trainer.tests.served import served
from trainer.tests.tiny import WORDS, tiny_bert

TEXTS = [(f"{a} {b}", role) for a in WORDS[:6] for b in WORDS[6:10] for role in ("query", "document")]


class Counting:
    """A teacher that remembers what it was asked; its vectors depend on text and role."""

    def __init__(self, dimensions: int = 8) -> None:
        self.asked: list[TextAndRole] = []
        self.dimensions = dimensions

    def __call__(self, texts: list[TextAndRole]) -> np.ndarray:
        self.asked += texts
        rows = np.stack([np.random.default_rng(list(f"{role} {text}".encode())).normal(size=self.dimensions) for text, role in texts])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_a_text_is_asked_for_once_in_each_role_over_runs_and_processes(tmp_path: Path) -> None:
    teacher = Counting()
    first = TeacherCache(tmp_path, "t", teacher)
    again = [*TEXTS[:20], *TEXTS[10:30], *TEXTS[:5]]
    vectors = first(again)
    assert sorted(teacher.asked) == sorted(TEXTS[:30])
    np.testing.assert_allclose(vectors, Counting()(again), atol=1e-3)
    TeacherCache(tmp_path, "t", teacher)(TEXTS[25:40])
    assert sorted(teacher.asked) == sorted(TEXTS[:40])
    later = TeacherCache(tmp_path, "t", teacher)
    np.testing.assert_array_equal(later(again), vectors)
    assert len(teacher.asked) == 40 == len(later) and later.missing(TEXTS[39:42]) == TEXTS[40:42]
    assert TeacherCache(tmp_path, "another", teacher)(TEXTS[:1]).shape == (1, 8) and len(teacher.asked) == 41


@pytest.mark.parametrize("crash", ["keys", "f16", "empty", "empty keys"])
def test_what_a_crash_tore_is_asked_for_again_and_nothing_else(crash: str, tmp_path: Path) -> None:
    cache = TeacherCache(tmp_path, "t", Counting())
    whole = cache(TEXTS[:12])
    keys, vectors = cache.folder / "0.keys", cache.folder / "0.f16"
    del cache
    if crash == "keys":  # the vectors of two texts were written, of their keys only a part
        keys.write_bytes(keys.read_bytes()[: 10 * 20 + 5])
    elif crash == "f16":
        vectors.write_bytes(vectors.read_bytes()[: 10 * 16 + 5])
    elif crash == "empty":  # a power cut: the file has its length, but the last blocks never arrived
        vectors.write_bytes(vectors.read_bytes()[: 10 * 16] + bytes(2 * 16))
    else:
        keys.write_bytes(keys.read_bytes()[: 10 * 20] + bytes(2 * 20))
    teacher = Counting()
    mended = TeacherCache(tmp_path, "t", teacher)
    np.testing.assert_array_equal(mended(TEXTS[:12]), whole)
    assert teacher.asked == TEXTS[10:12]
    np.testing.assert_array_equal(TeacherCache(tmp_path, "t", teacher)(TEXTS[:12]), whole)
    assert len(teacher.asked) == 2


def test_runs_at_once_keep_what_they_ask_for_apart(tmp_path: Path) -> None:
    first, second = (TeacherCache(tmp_path, "t", Counting()) for _ in range(2))
    for start in range(0, 12, 4):
        first(TEXTS[start : start + 2])
        second(TEXTS[start + 2 : start + 4])
    assert sorted(path.name for path in first.folder.glob("*.keys")) == ["0.keys", "1.keys"]
    later = TeacherCache(tmp_path, "t", pytest.fail)
    for cache in (first, second, later):
        np.testing.assert_allclose(cache(TEXTS[:12]), Counting()(TEXTS[:12]), atol=1e-3)
    assert len(first.ask.asked) == len(second.ask.asked) == 6


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    base = tiny_bert(tmp_path / "base")
    save_model(new_model(tiny_bert(tmp_path / "large", hidden_size=64), PoolingChoice(mode="mean")), tmp_path / "teacher")
    (tmp_path / "pairs.jsonl").write_text("".join(
        json.dumps({"query": f"{a} {b}", "positive": f"the {a} {b} ."}) + "\n" for a in WORDS[4:12] for b in WORDS[12:20]))
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps({
        "base": str(base), "output": str(tmp_path / "out"), "teacher": str(tmp_path / "teacher"), "teacher_cache": str(tmp_path / "cache"),
        "max_tokens": 32, "stages": [{"sources": [{"path": str(tmp_path / "pairs.jsonl")}], "steps": 6, "batch": 8, "loss": {"name": "distillation"}}]}))
    return path


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_teach_fills_the_cache_and_training_asks_the_teacher_for_nothing(recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["teach", "--recipe", str(recipe_file)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["texts"] == 2 * 64
    [teacher] = open_teachers(load_recipe(recipe_file, []))
    assert isinstance(teacher, TeacherCache)
    teacher.ask = pytest.fail
    store_texts = [(f"the {WORDS[4]} {WORDS[12]} .", "document"), (f"{WORDS[4]} {WORDS[12]}", "query")]
    assert teacher(store_texts).shape == (2, 64)
    finetune(load_recipe(recipe_file, []))
    size = (teacher.folder / "0.keys").stat().st_size
    finetune(load_recipe(recipe_file, [f"output={tmp_path / 'direct'}", "teacher_cache=''"]))
    assert (teacher.folder / "0.keys").stat().st_size == size == 2 * 64 * 20
    np.testing.assert_allclose(losses(tmp_path / "out"), losses(tmp_path / "direct"), rtol=2e-2)


def test_teach_stopped_goes_on_with_what_is_missing(recipe_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.teach.TEACH_TEXTS", 32)
    recipe = load_recipe(recipe_file, [])
    [teacher] = open_teachers(recipe)
    assert isinstance(teacher, TeacherCache)
    ask, asked, stop = teacher.ask, [], StopSignal()

    def once(texts: list[TextAndRole]) -> np.ndarray:
        stop.asked = True
        asked.append(len(texts))
        return ask(texts)

    teacher.ask = once
    with pytest.raises(Interrupted, match="stopped with 32 texts; the same command goes on"):
        fill(list(open_stores(recipe).values()), teacher, teacher, stop)
    [again] = open_teachers(recipe)
    assert isinstance(again, TeacherCache)
    again.ask = lambda texts: asked.append(len(texts)) or ask(texts)
    fill(list(open_stores(recipe).values()), again, again, StopSignal())
    assert asked == [32, 32, 32, 32] and len(again) == 128


def test_a_server_teaches_and_another_model_behind_its_address_has_a_cache_of_its_own(recipe_file: Path) -> None:
    encoder = open_encoder(load_recipe(recipe_file, []).teacher)
    for fingerprint in ("one", "one", "two"):
        with served(encoder, fingerprint) as url:
            [teacher] = open_teachers(load_recipe(recipe_file, [f"teacher={url}"]))
            assert isinstance(teacher, TeacherCache)
            np.testing.assert_allclose(teacher([("red cat", "query")]), encoder.encode(["red cat"], "query"), atol=1e-3)
    assert len(list(teacher.folder.parent.iterdir())) == 2


def test_a_cache_without_a_teacher_is_refused(recipe_file: Path) -> None:
    with pytest.raises(InputError, match="teacher_cache needs a teacher"):
        open_teachers(load_recipe(recipe_file, ["teacher=''"]))
    with pytest.raises(InputError, match="http://127.0.0.1:1/info gave no answer"):
        open_teachers(load_recipe(recipe_file, ["teacher=http://127.0.0.1:1"]))
    assert main(["teach", "--recipe", str(recipe_file), "--set", "teacher_cache=''"]) == InputError.exit_code


def test_two_shares_fill_one_cache_and_leave_nothing_out(recipe_file: Path) -> None:
    for share in ("1/2", "2/2"):
        assert main(["teach", "--recipe", str(recipe_file), "--share", share, "--set", f"output={recipe_file.parent}/share-{share[0]}"]) == 0
    assert len(open_teachers(load_recipe(recipe_file, []))[0]) == 2 * 64
    with pytest.raises(SystemExit):
        main(["teach", "--recipe", str(recipe_file), "--share", "3/2"])


def test_prompts_of_the_teachers_own_are_left_out_where_the_recipe_says_so() -> None:
    class Telling:
        def encode(self, texts: list[str], role: str) -> np.ndarray:
            return np.array([[len(role)] for _ in texts], np.float32)

    texts = [("a", "query"), ("b", "document")]
    assert ask_teacher(Telling(), "", "")(texts).tolist() == [[5], [8]]
    assert ask_teacher(Telling(), "", "", own_prompts=False)(texts).tolist() == [[0], [0]]
