"""What a recipe's imitation follows, opened; and a cache of several teachers' hidden states, the dearest thing about it.

<teacher_cache>/states-<identity>/ holds a text's states [tokens, dimensions] by its tokens (trainer/keyed_rows.py), and rotation.npy, c R of
trainer/imitation.py, so that all runs have the same. `trainer teach` fills it; a run keeps what it has to compute. A text takes 2 bytes a token and
dimension: 6.6 million tokens of 384 dimensions 5 GB.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from trainer.errors import InputError
from trainer.imitation import FEATURES, Imitated, ImitatedBase, ImitatedTeachers
from trainer.keyed_rows import KEY_BYTES, KeyedRows
from trainer.recipe import Recipe, TeacherShare
from trainer.teacher import Teacher, identity_of
from trainer.teachers import Ensemble

CHECKED = 16  # texts, by which teachers are seen to be imitable


def open_imitated(recipe: Recipe, model: SentenceTransformer, teacher: Teacher | None) -> Imitated | None:
    """What the stages' imitation follows, or None; `model` is not trained yet, and `teacher` is what open_teacher gave."""
    if not recipe.imitates:
        return None
    if recipe.keep_layers:
        return ImitatedBase(Path(recipe.base), recipe.keep_layers, recipe.precision == "bf16", model.device)
    if not isinstance(teacher, Ensemble):
        raise InputError("a stage's imitation needs keep_layers or several teachers: a model with all of its base's layers has nothing else to imitate")
    if any(source.query_prompt or source.document_prompt for stage in recipe.stages if stage.imitation for source in stage.sources):
        raise InputError("a stage that imitates teachers token by token takes no prompts: they read every text as it is")
    for share in recipe.teachers:
        if not (Path(share.folder) / "config.json").is_file():
            raise InputError(f"teacher {share.folder} cannot be imitated token by token: its hidden states are to be had from a PyTorch folder alone "
                             "(`trainer base` makes one of a model version)")
    imitated = ImitatedTeachers([Path(share.folder) for share in recipe.teachers], teacher.means, teacher.shares, recipe.precision == "bf16", model.device)
    if not recipe.teacher_cache:
        imitated.rotation = _rotation(imitated, model, teacher, recipe)
        return imitated
    folder = Path(recipe.teacher_cache) / f"states-{_identity(recipe, teacher)}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rotation.npy"
    if not path.is_file():
        own = folder / f"rotation-{os.getpid()}.npy"
        np.save(own, _rotation(imitated, model, teacher, recipe).cpu().numpy())
        try:
            os.link(own, path)  # of processes that start at once, the first decides
        except FileExistsError:
            pass
        own.unlink()
    imitated.rotation = torch.from_numpy(np.load(path)).to(model.device)
    return StatesCache(imitated, folder)


class StatesCache:
    """An Imitated whose states are computed once."""

    is_teacher = True

    def __init__(self, imitated: ImitatedTeachers, folder: Path) -> None:
        self.folder, self._imitated, self._dimensions = folder, imitated, imitated.rotation.shape[1]
        self._rows = KeyedRows(folder, self._dimensions)

    def __len__(self) -> int:
        return len(self._rows)

    def has(self, features: Mapping[str, Tensor]) -> bool:
        return not self._rows.missing(_keys(features))

    def states(self, features: Mapping[str, Tensor]) -> dict[int, Tensor]:
        keys, counts = _keys(features), features["attention_mask"].sum(dim=1).tolist()
        if missing := self._rows.missing(keys):
            rows = [keys.index(key) for key in missing]
            # Up to a power of two, by repetition: on a CPU every new shape costs the making of its kernels.
            filled = rows + rows[:1] * ((1 << (len(rows) - 1).bit_length()) - len(rows))
            states = self._imitated.states({name: value[filled] for name, value in features.items() if name in FEATURES})[self._imitated.place].cpu().numpy()
            self._rows.keep({keys[row]: states[i, : counts[row]] for i, row in enumerate(rows)})
        # As the cache gives them, those just computed, too: a run is the same whatever was in the cache before.
        whole = np.zeros((*features["input_ids"].shape, self._dimensions), np.float16)
        for row, key in enumerate(keys):
            whole[row, : counts[row]] = self._rows[key]
        return {self._imitated.place: torch.from_numpy(whole).to(features["input_ids"].device).float()}


def _keys(features: Mapping[str, Tensor]) -> list[bytes]:
    ids, counts = features["input_ids"].cpu().numpy().astype("<i4"), features["attention_mask"].sum(dim=1).tolist()
    return [hashlib.blake2b(row[:count].tobytes(), digest_size=KEY_BYTES).digest() for row, count in zip(ids, counts, strict=True)]


def _rotation(imitated: ImitatedTeachers, model: SentenceTransformer, teacher: Ensemble, recipe: Recipe) -> Tensor:
    """c R of the teachers' sample, after a look at whether the teachers' vectors are made of their hidden states."""
    vectors = torch.from_numpy(teacher(teacher.sample)).to(model.device)
    texts = [text for text, _ in teacher.sample]
    features = model.preprocess(texts[:CHECKED])
    model.eval()
    with torch.inference_mode(), torch.autocast(model.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
        imitated.check({key: value.to(model.device) for key, value in features.items() if isinstance(value, Tensor)}, vectors[:CHECKED])
        tokens = model.encode(texts, output_value="token_embeddings", show_progress_bar=False)
    model.train()
    return imitated.rotation_of(vectors, torch.stack([states.float().mean(dim=0) for states in tokens]))


def _identity(recipe: Recipe, teacher: Ensemble) -> str:
    """Of what decides the states of a text: teachers, their weights, the base that they are turned to, and the sample that does it."""
    shares = [[one.identity, share.weight] for one, share in zip(teacher.teachers, recipe.teachers, strict=True)]
    what = [shares, identity_of(TeacherShare(recipe.base), recipe.precision == "bf16"), recipe.max_tokens, teacher.sample]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
