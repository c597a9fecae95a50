"""Several teachers as one: their cosines centred, scaled alike and averaged, over the same sample wherever they are opened."""

import json
from pathlib import Path

import numpy as np
import pytest

from trainer.cli import main
from trainer.errors import InputError
from trainer.finetune import finetune
from trainer.model import PoolingChoice, new_model, save_model
from trainer.recipe import load_recipe
from trainer.teacher import TextAndRole
from trainer.teachers import Ensemble
from trainer.tests.tiny import WORDS, tiny_bert

TEXTS: list[TextAndRole] = [(f"{a} {b}", "query") for a in WORDS[:6] for b in WORDS[6:11]]


def narrow(texts: list[TextAndRole]) -> np.ndarray:
    """Cosines near 1, as some models have them all."""
    return _unit(10 + _drawn(texts, 1, 8))


def wide(texts: list[TextAndRole]) -> np.ndarray:
    return _unit(_drawn(texts, 2, 4))


def _drawn(texts: list[TextAndRole], seed: int, dimensions: int) -> np.ndarray:
    return np.stack([np.random.default_rng([seed, *text.encode()]).normal(size=dimensions) for text, _ in texts])


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def cosines(rows: np.ndarray) -> np.ndarray:
    return (rows @ rows.T)[np.triu_indices(len(rows), 1)]


def test_the_cosines_are_the_weighted_mean_of_each_teachers_at_one_spread() -> None:
    teacher = Ensemble([narrow, wide], [1, 3], TEXTS)
    vectors = teacher(TEXTS)
    assert vectors.shape == (len(TEXTS), 12) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    parts = [cosines(_unit(rows - rows.mean(axis=0))) for rows in (narrow(TEXTS), wide(TEXTS))]
    scaled = [weight * part / part.std() for weight, part in zip((1, 3), parts, strict=True)]
    expected = sum(scaled) / sum(weight / part.std() for weight, part in zip((1, 3), parts, strict=True))
    np.testing.assert_allclose(cosines(vectors), expected, atol=1e-5)


def test_a_text_has_the_same_vector_whatever_it_is_asked_with() -> None:
    teacher = Ensemble([narrow, wide], [1, 1], TEXTS)
    np.testing.assert_allclose(teacher(TEXTS[3:5]), teacher(TEXTS)[3:5], atol=1e-6)


@pytest.mark.parametrize(("weights", "sample", "message"), [([1, -1], 30, "0 or more"), ([0, 0], 30, "one of them more"), ([1, 1], 7, "at least 8 texts")])
def test_weights_and_samples_that_make_no_mean_are_refused(weights: list[float], sample: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Ensemble([narrow, wide], weights, TEXTS[:sample])


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    base = tiny_bert(tmp_path / "base")
    for name, size in (("large", 64), ("small", 32)):
        save_model(new_model(tiny_bert(tmp_path / f"{name}-encoder", hidden_size=size), PoolingChoice(mode="mean")), tmp_path / name)
    (tmp_path / "pairs.jsonl").write_text("".join(
        json.dumps({"query": f"{a} {b}", "positive": f"the {a} {b} ."}) + "\n" for a in WORDS[4:12] for b in WORDS[12:20]))
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps({
        "base": str(base), "output": str(tmp_path / "out"), "max_tokens": 32, "teacher_cache": str(tmp_path / "cache"),
        "teachers": [{"folder": str(tmp_path / "large"), "weight": 2}, {"folder": str(tmp_path / "small")}],
        "stages": [{"sources": [{"path": str(tmp_path / "pairs.jsonl")}], "steps": 3, "batch": 8, "loss": {"name": "distillation", "among": "texts"}}]}))
    return path


def test_each_teacher_has_a_cache_of_its_own_and_a_run_asks_none_of_them_again(recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["teach", "--recipe", str(recipe_file)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["texts"] == 2 * 64
    sizes = {path: path.stat().st_size for path in (tmp_path / "cache").glob("*/0.keys")}
    assert list(sizes.values()) == [2 * 64 * 20] * 2
    finetune(load_recipe(recipe_file, []))
    assert {path: path.stat().st_size for path in (tmp_path / "cache").glob("*/0.keys")} == sizes
    # Another weight is another mean of the same vectors.
    finetune(load_recipe(recipe_file, [f"output={tmp_path / 'other'}", "teachers.0.weight=1"]))
    assert {path: path.stat().st_size for path in (tmp_path / "cache").glob("*/0.keys")} == sizes
    first, other = (json.loads((tmp_path / name / "log.jsonl").read_text().splitlines()[0])["loss"] for name in ("out", "other"))
    assert first != other


def test_a_teacher_beside_teachers_is_refused(recipe_file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a teacher or teachers, not both"):
        finetune(load_recipe(recipe_file, [f"teacher={tmp_path / 'large'}"]))
