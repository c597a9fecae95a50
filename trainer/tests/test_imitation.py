"""A model cut out of a larger one learns to do what the larger one does, and a whole one what several do together, token by token."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer

from trainer import pooling
from trainer.batch_gradients import BatchGradients
from trainer.cli import main
from trainer.data.batches import collate
from trainer.data.records import Record
from trainer.data.store import open_store
from trainer.distributed import Processes
from trainer.errors import InputError
from trainer.finetune import finetune
from trainer.imitated_states import StatesCache, open_imitated
from trainer.imitation import Imitated, ImitatedBase, ImitatedTeachers, Imitation, imitation_loss
from trainer.losses.batch import EmbeddedBatch
from trainer.losses.info_nce import InfoNCE
from trainer.model import PoolingChoice, load_model, new_model, save_model
from trainer.recipe import Recipe, TeacherShare, from_fields, resolved
from trainer.teachers import Ensemble, open_teacher
from trainer.tests.tiny import WORDS, tiny_bert
from trainer.training_model import prepare

TEXTS = [" ".join(WORDS[i : i + 3 + i % 5]) for i in range(24)]
MEAN = PoolingChoice(mode="mean")


def fields(base: Path, folder: Path, **changes: object) -> dict:
    path = folder / "texts.jsonl"
    path.write_text("".join(json.dumps({"query": one, "pos": [other]}) + "\n" for one, other in zip(TEXTS[::2], TEXTS[1::2], strict=True)))
    stage = {"sources": [{"path": str(path)}], "steps": 120, "batch": 12, "imitation": {"hidden_states": 1.0, "vectors": 30.0},
             "loss": {"name": "sum", "terms": [{"name": "info_nce", "weight": 0.0}]}}
    return {"base": str(base), "output": str(folder / "out"), "stages": [stage], "device": "cpu", "pooling": {"mode": "mean"}, "keep_layers": [0, 2],
            "optimizer": {"learning_rate": 0.003}, **changes}


def likeness(model: object, whole: object) -> float:
    return float((model.encode(TEXTS, convert_to_tensor=True) * whole.encode(TEXTS, convert_to_tensor=True)).sum(dim=1).mean())


def test_a_model_with_two_of_three_layers_comes_to_follow_the_whole(tmp_path: Path) -> None:
    base = tiny_bert(tmp_path / "base")
    whole, cut = new_model(base, MEAN), new_model(base, MEAN, keep_layers=[0, 2])
    trained = load_model(finetune(from_fields(Recipe, fields(base, tmp_path), "")))
    assert trained[0].model.config.num_hidden_layers == 2
    before, after = likeness(cut, whole), likeness(trained, whole)
    assert 1 - after < (1 - before) / 3


def test_all_layers_are_as_far_from_the_whole_as_nothing(tmp_path: Path) -> None:
    """Each layer kept is compared with the base's last before the next: with all kept, with itself."""
    base = tiny_bert(tmp_path / "base")
    model = new_model(base, MEAN)
    model[0].model.config.output_hidden_states = True
    features = model.preprocess(TEXTS[:4])
    output = model.eval()(dict(features))
    imitated = ImitatedBase(base, [0, 1, 2], bf16=False, device=torch.device("cpu"))
    assert imitated.places == [1, 2, 3]
    apart, vectors = imitation_loss(imitated, Imitation(), features, output["all_layer_embeddings"], output["sentence_embedding"])
    assert float(apart.detach()) < 1e-5 and torch.allclose(vectors, output["sentence_embedding"], atol=1e-5)


def test_gradients_do_not_depend_on_micro_batches_or_caching(tmp_path: Path) -> None:
    """The variance that a layer's distance is measured in is a micro-batch's own; vectors alone are exact."""
    base, weights = tiny_bert(tmp_path / "base"), Imitation(hidden_states=0.0, vectors=5.0)
    batch = collate([(Record(query=one, positive=other), []) for one, other in zip(TEXTS[::2], TEXTS[1::2], strict=True)], 0, "", "", True)
    found = []
    for micro_batch, cached in ((64, False), (1, False), (1, True)):
        model = new_model(base, MEAN, 32, keep_layers=[0, 2])
        model[0].model.config.output_hidden_states = True
        gradients = BatchGradients(model, Processes("cpu"), micro_batch, cached, imitated=ImitatedBase(base, [0, 2], False, torch.device("cpu")))
        result = gradients.add(batch, InfoNCE(), 1, imitation=weights)
        found.append((result.loss, model[0].model.encoder.layer[0].output.dense.weight.grad.clone()))
    for loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        assert torch.allclose(gradient, found[0][1], atol=1e-5)


@pytest.mark.parametrize(("changes", "message"), [
    ({"keep_layers": []}, "imitation needs keep_layers or several teachers"),
    ({"keep_layers": [0, 3]}, r"keep_layers must rise and lie between 0 and 2, not \[0, 3\]"),
    ({"keep_layers": [2, 0]}, "keep_layers must rise"),
])
def test_layers_that_cannot_be_kept_are_refused(changes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        finetune(from_fields(Recipe, fields(tiny_bert(tmp_path / "base"), tmp_path, **changes), ""))


@pytest.fixture
def together(tmp_path: Path) -> Recipe:
    """Two teachers of other widths and a whole student."""
    shares = []
    for name, changes in (("wide", {"hidden_size": 64}), ("deep", {"hidden_size": 48, "num_hidden_layers": 4})):
        save_model(new_model(tiny_bert(tmp_path / f"{name}-base", **changes), MEAN), tmp_path / name)
        shares.append({"folder": str(tmp_path / name), "weight": 1})
    return from_fields(Recipe, fields(tiny_bert(tmp_path / "base"), tmp_path, keep_layers=[], teachers=shares, teacher_cache=str(tmp_path / "cache")), "")


def opened(recipe: Recipe) -> tuple[SentenceTransformer, Ensemble, Imitated]:
    store = open_store(Path(recipe.stages[0].sources[0].path), Path(recipe.output) / "data", "texts", 0.0)
    model, teacher = prepare(recipe), open_teacher(recipe, [store])
    return model, teacher, open_imitated(recipe, model, teacher)


def read(model: SentenceTransformer, texts: list[str]) -> dict[str, torch.Tensor]:
    return {key: value for key, value in model.preprocess(texts).items() if isinstance(value, torch.Tensor)}


def test_the_mean_of_the_states_has_the_cosines_of_the_teachers_together(together: Recipe) -> None:
    model, teacher, imitated = opened(replace(together, teacher_cache=""))
    assert isinstance(imitated, ImitatedTeachers)
    features = read(model, TEXTS)
    [states] = imitated.states(features).values()
    assert states.shape == (*features["input_ids"].shape, 32)
    vectors = torch.nn.functional.normalize(pooling.mean(states, features["attention_mask"]), dim=1)
    theirs = torch.from_numpy(teacher([(text, "query") for text in TEXTS]))
    rows = torch.triu_indices(len(TEXTS), len(TEXTS), 1)
    pairs = [(some @ some.T)[rows[0], rows[1]] for some in (vectors, theirs)]
    # Of 112 dimensions the 32 largest of these few texts hold nearly all.
    assert float(torch.corrcoef(torch.stack(pairs))[0, 1]) > 0.99


def test_a_model_comes_to_follow_its_teachers(together: Recipe) -> None:
    _, teacher, _ = opened(together)
    theirs = torch.from_numpy(teacher([(text, "query") for text in TEXTS]))
    rows = torch.triu_indices(len(TEXTS), len(TEXTS), 1)

    def likeness(model: SentenceTransformer) -> float:
        own = model.encode(TEXTS, convert_to_tensor=True)
        return float(torch.corrcoef(torch.stack([(some @ some.T)[rows[0], rows[1]] for some in (own, theirs)]))[0, 1])

    before, after = likeness(new_model(Path(together.base), MEAN)), likeness(load_model(finetune(together)))
    assert 1 - after < (1 - before) / 3


@pytest.mark.parametrize("cached", [False, True])
def test_teachers_imitated_are_the_losss_teacher(cached: bool, together: Recipe) -> None:
    model, _, imitated = opened(together)
    batch = collate([(Record(query=one, positive=other), []) for one, other in zip(TEXTS[::2], TEXTS[1::2], strict=True)], 0, "", "", True)
    seen = []

    def loss(embedded: EmbeddedBatch) -> torch.Tensor:
        seen.append(embedded.teacher)
        return embedded.embeddings.sum()

    gradients = BatchGradients(model, Processes("cpu"), 1, cached, teacher=pytest.fail, imitated=imitated)
    gradients.add(batch, loss, 1, imitation=Imitation())
    features = read(model, batch.texts)
    [states] = imitated.states(features).values()
    assert torch.allclose(seen[0], torch.nn.functional.normalize(pooling.mean(states, features["attention_mask"])), atol=1e-5)


def test_states_are_computed_once_by_whichever_process(together: Recipe, tmp_path: Path) -> None:
    model, _, first = opened(together)
    features = read(model, TEXTS[:5])
    [direct] = first._imitated.states(features).values()
    [computed] = first.states(features).values()
    mask = features["attention_mask"].unsqueeze(-1)
    assert isinstance(first, StatesCache) and torch.allclose(computed * mask, direct * mask, atol=0.02) and len(first) == 5
    _, _, second = opened(together)
    second._imitated.states = pytest.fail
    [again] = second.states(read(model, TEXTS[2:4])).values()
    width = again.shape[1]
    assert torch.equal(again * mask[2:4, :width], (computed * mask)[2:4, :width])


def test_of_a_micro_batch_the_missing_texts_alone_are_computed(together: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _, cache = opened(together)
    asked = []
    states = cache._imitated.states
    monkeypatch.setattr(cache._imitated, "states", lambda features: asked.append(len(features["input_ids"])) or states(features))
    features = read(model, TEXTS[:8])
    cache.states(read(model, TEXTS[2:6]))
    [found] = cache.states(features).values()
    assert asked == [4, 4]  # four of eight were there
    cache.states(read(model, TEXTS[7:13]))
    assert asked[2:] == [8]  # five, filled up
    mask = features["attention_mask"].unsqueeze(-1)
    [direct] = states(features).values()
    assert torch.allclose(found * mask, direct * mask, atol=0.02)


@pytest.mark.parametrize("torn", ["keys", "f16"])
def test_what_a_crash_tore_is_computed_again(torn: str, together: Recipe) -> None:
    model, _, first = opened(together)
    features = read(model, TEXTS[:5])
    [whole] = first.states(features).values()
    path = first.folder / f"0.{torn}"
    del first
    path.write_bytes(path.read_bytes()[:-7])
    _, _, mended = opened(together)
    assert len(mended) == 4 and not mended.has(features)
    [again] = mended.states(features).values()
    assert torch.equal(again[:4], whole[:4]) and len(opened(together)[2]) == 5
    torch.testing.assert_close(again[4], whole[4], atol=1e-5, rtol=2**-10)  # float16's last bit: computed alone, it is rounded otherwise on some processors


def test_teach_leaves_a_run_nothing_to_compute(together: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(resolved(together)))
    assert main(["teach", "--recipe", str(path)]) == 0
    monkeypatch.setattr(ImitatedTeachers, "states", pytest.fail)
    finetune(replace(together, stages=[replace(together.stages[0], steps=3)]))


def test_teachers_that_cannot_be_imitated_are_refused(together: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs keep_layers or several teachers"):
        finetune(replace(together, teachers=[], teacher=together.teachers[0].folder))
    save_model(new_model(tiny_bert(tmp_path / "first-base", hidden_size=64), PoolingChoice(mode="cls")), tmp_path / "first")
    with pytest.raises(InputError, match="first cannot be imitated token by token: the mean of its hidden states"):
        finetune(replace(together, output=str(tmp_path / "other"), teachers=[TeacherShare(str(tmp_path / "first")), together.teachers[1]]))
    source = replace(together.stages[0].sources[0], query_prompt="query : ")
    with pytest.raises(InputError, match="takes no prompts"):
        finetune(replace(together, output=str(tmp_path / "prompted"), stages=[replace(together.stages[0], sources=[source])]))
    path = tmp_path / "version"
    path.mkdir()
    with pytest.raises(InputError, match="version cannot be imitated token by token: its hidden states are to be had from a PyTorch folder alone"):
        open_imitated(replace(together, teachers=[TeacherShare(str(path)), together.teachers[1]]), *opened(together)[:2])
