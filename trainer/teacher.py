"""The teacher of a distillation: a model folder, a model version or a server, whose vectors the student learns from, and a cache of them."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from trainer.data.store import RecordStore
from trainer.errors import InputError
from trainer.evaluate.encoders import HttpEncoder, TextEncoder, is_url, open_encoder
from trainer.keyed_rows import KEY_BYTES, KeyedRows
from trainer.recipe import Recipe, TeacherShare

TextAndRole = tuple[str, str]  # the role is "query" or "document"
Teacher = Callable[[list[TextAndRole]], np.ndarray]  # -> [texts, teacher dimensions], float32, rows of length 1


def open_teachers(recipe: Recipe) -> list[Teacher]:
    """The recipe's teachers, each behind a cache of its own where the recipe names a folder for it."""
    if recipe.teacher and recipe.teachers:
        raise InputError("a recipe has a teacher or teachers, not both")
    shares = recipe.teachers or ([TeacherShare(recipe.teacher, 1.0, recipe.teacher_own_prompts, recipe.teacher_query_prompt, recipe.teacher_document_prompt)]
                                 if recipe.teacher else [])
    if recipe.teacher_cache and not shares:
        raise InputError("teacher_cache needs a teacher")
    bf16 = recipe.precision == "bf16"
    teachers: list[Teacher] = []
    for share in shares:
        ask = ask_teacher(open_encoder(share.folder, bf16=bf16), share.query_prompt, share.document_prompt, share.own_prompts)
        teachers.append(TeacherCache(Path(recipe.teacher_cache), identity_of(share, bf16), ask) if recipe.teacher_cache else ask)
    return teachers


def ask_teacher(encoder: TextEncoder, query_prompt: str, document_prompt: str, own_prompts: bool = True) -> Teacher:
    """Vectors of (text, role) pairs. Prompts given here stand for the teacher's own, which are otherwise used where `own_prompts`."""
    prompts = {"query": query_prompt, "document": document_prompt}
    plain = any(prompts.values()) or not own_prompts

    def vectors(texts: list[TextAndRole]) -> np.ndarray:
        result: np.ndarray | None = None
        for role in ("query", "document"):
            rows = [i for i, (_, own) in enumerate(texts) if own == role]
            if not rows:
                continue
            part = encoder.encode([prompts[role] + texts[i][0] for i in rows], "" if plain else role)
            result = np.zeros((len(texts), part.shape[1]), np.float32) if result is None else result
            result[rows] = part
        return result

    return vectors


class TeacherCache:
    """A teacher's vectors on disk, asked for once each: <folder>/<identity>/ holds them by text and role (trainer/keyed_rows.py), and teacher.json, the
    identity in full and the dimensions."""

    def __init__(self, folder: Path, identity: str, ask: Teacher) -> None:
        self.folder, self.ask, self.identity = folder / hashlib.sha256(f"keyed rows of {identity}".encode()).hexdigest()[:16], ask, identity
        about = self.folder / "teacher.json"
        self._rows = KeyedRows(self.folder, json.loads(about.read_text(encoding="utf-8"))["dimensions"]) if about.is_file() else None

    def __len__(self) -> int:
        return len(self._rows or ())

    def missing(self, texts: list[TextAndRole]) -> list[TextAndRole]:
        """Those that are not in the cache, each once."""
        by_key = {_key(text): text for text in texts}
        return [by_key[key] for key in self._rows.missing(by_key)] if self._rows else list(by_key.values())

    def __call__(self, texts: list[TextAndRole]) -> np.ndarray:
        """[texts, teacher dimensions]; what is not in the cache is asked for and kept."""
        missing = self.missing(texts)
        if missing:
            self._keep(missing, self.ask(missing))
        # As the cache gives them, those just asked for, too: a run is the same whatever was in the cache before.
        return np.concatenate([self._rows[_key(text)] for text in texts]).astype(np.float32)

    def _keep(self, texts: list[TextAndRole], vectors: np.ndarray) -> None:
        if self._rows is None:
            self._rows = KeyedRows(self.folder, vectors.shape[1])
            staging = self.folder / f"teacher-{os.getpid()}.json"
            staging.write_text(json.dumps({"identity": self.identity, "dimensions": vectors.shape[1]}) + "\n", encoding="utf-8")
            staging.replace(self.folder / "teacher.json")
        self._rows.keep({_key(text): vectors[i : i + 1] for i, text in enumerate(texts)})


def texts_of(store: RecordStore, numbers: range) -> Iterator[TextAndRole]:
    for number in numbers:
        record = store[number]
        yield record.query, "query"
        yield from ((text, "document") for text in (record.positive, *record.negatives))


def identity_of(teacher: TeacherShare, bf16: bool) -> str:
    """What decides a teacher's vectors: its weights and its prompts. A server that serves a version shares that version's cache."""
    folder = Path(teacher.folder)
    if is_url(teacher.folder):
        weights = HttpEncoder(teacher.folder).fingerprint()
    elif (folder / "manifest.json").is_file():
        weights = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["fingerprint"]
    elif folder.is_dir():
        digest = hashlib.sha256()
        for path in sorted(path for path in folder.rglob("*") if path.suffix in (".safetensors", ".bin", ".json", ".txt", ".model")):
            digest.update(path.relative_to(folder).as_posix().encode())
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        weights = digest.hexdigest()
        if bf16:
            weights += " bf16"
    else:
        raise InputError(f"there is no teacher in {teacher.folder}: it is a folder, or the address of a server")
    return json.dumps([weights, teacher.query_prompt, teacher.document_prompt, *([] if teacher.own_prompts else ["no prompts"])])


def _key(text: TextAndRole) -> bytes:
    return hashlib.blake2b(f"{text[1]}\0{text[0]}".encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()
