"""A model cut out of a larger one learns to do what the larger one does."""

import json
from pathlib import Path

import pytest
import torch

from trainer.batch_gradients import BatchGradients
from trainer.data.batches import collate
from trainer.data.records import Record
from trainer.distributed import Processes
from trainer.errors import InputError
from trainer.finetune import finetune
from trainer.imitation import Imitated, Imitation
from trainer.losses.info_nce import InfoNCE
from trainer.model import PoolingChoice, load_model, new_model
from trainer.recipe import Recipe, from_fields
from trainer.tests.tiny import WORDS, tiny_bert

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
    imitated = Imitated(base, [0, 1, 2], bf16=False, device=torch.device("cpu"))
    assert imitated.places == [1, 2, 3]
    assert float(imitated.loss(Imitation(), features, output["all_layer_embeddings"], output["sentence_embedding"]).detach()) < 1e-5


def test_gradients_do_not_depend_on_micro_batches_or_caching(tmp_path: Path) -> None:
    """The variance that a layer's distance is measured in is a micro-batch's own; vectors alone are exact."""
    base, weights = tiny_bert(tmp_path / "base"), Imitation(hidden_states=0.0, vectors=5.0)
    batch = collate([(Record(query=one, positive=other), []) for one, other in zip(TEXTS[::2], TEXTS[1::2], strict=True)], 0, "", "", True)
    found = []
    for micro_batch, cached in ((64, False), (1, False), (1, True)):
        model = new_model(base, MEAN, 32, keep_layers=[0, 2])
        model[0].model.config.output_hidden_states = True
        gradients = BatchGradients(model, Processes("cpu"), micro_batch, cached, imitated=Imitated(base, [0, 2], False, torch.device("cpu")))
        result = gradients.add(batch, InfoNCE(), 1, imitation=weights)
        found.append((result.loss, model[0].model.encoder.layer[0].output.dense.weight.grad.clone()))
    for loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        assert torch.allclose(gradient, found[0][1], atol=1e-5)


@pytest.mark.parametrize(("changes", "message"), [
    ({"keep_layers": []}, "imitation needs keep_layers"),
    ({"keep_layers": [0, 3]}, r"keep_layers must rise and lie between 0 and 2, not \[0, 3\]"),
    ({"keep_layers": [2, 0]}, "keep_layers must rise"),
])
def test_layers_that_cannot_be_kept_are_refused(changes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        finetune(from_fields(Recipe, fields(tiny_bert(tmp_path / "base"), tmp_path, **changes), ""))
