"""The teacher of a distillation: a model folder, a model version or a server, whose vectors the student learns from, and a cache of them.

    python -m trainer teach --recipe trainer/recipes/default-distillation.yaml

computes the vectors of every text of the recipe's sources once and keeps them in the recipe's `teacher_cache`, so that runs
over other seeds, lengths or losses ask the teacher for nothing. Stopped at any moment, the same command goes on. Without this
command a run fills the cache as it goes.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from trainer.data.store import RecordStore, open_store, store_name
from trainer.errors import InputError
from trainer.evaluate.encoders import HttpEncoder, TextEncoder, is_url, open_encoder
from trainer.events import emit
from trainer.interruption import Interrupted, StopSignal
from trainer.recipe import Recipe, TeacherShare, load_recipe

TextAndRole = tuple[str, str]  # the role is "query" or "document"
Teacher = Callable[[list[TextAndRole]], np.ndarray]  # -> [texts, teacher dimensions], float32, rows of length 1

KEY_BYTES = 16
TEACH_TEXTS = 1024  # asked for and kept at a time; what a stop may cost


def open_teachers(recipe: Recipe, process: int = 0) -> list[Teacher]:
    """The recipe's teachers, each behind a cache of its own where the recipe names a folder for it. `process`: see TeacherCache."""
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
        teachers.append(TeacherCache(Path(recipe.teacher_cache), _identity(share, bf16), ask, process) if recipe.teacher_cache else ask)
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
    """A teacher's vectors on disk, asked for once each.

        <folder>/<identity>/teacher.json          the identity in full, and the dimensions
        <folder>/<identity>/<process>.keys        16 bytes a text: a hash of role and text
        <folder>/<identity>/<process>.f16         its vector in float16, at the same place

    Each process of a run appends to files of its own and reads all. A row that a crash tore or left empty is asked for again.
    Memory: about 150 bytes a text; vectors stay on disk.
    """

    def __init__(self, folder: Path, identity: str, ask: Teacher, process: int = 0) -> None:
        self.folder, self.ask, self.process = folder / hashlib.sha256(identity.encode()).hexdigest()[:16], ask, process
        self.folder.mkdir(parents=True, exist_ok=True)
        self._identity, self._vectors, self._places = identity, {}, {}
        for path in sorted(self.folder.glob("*.keys")):
            self._read(path)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, text: TextAndRole) -> bool:
        return _key(text) in self._places

    def __call__(self, texts: list[TextAndRole]) -> np.ndarray:
        """[texts, teacher dimensions]; what is not in the cache is asked for and kept."""
        keys = [_key(text) for text in texts]
        missing = list({key: text for key, text in zip(keys, texts, strict=True) if key not in self._places}.values())
        if missing:
            self._keep(missing, self.ask(missing))
        # As the cache gives them, those just asked for, too: a run is the same whatever was in the cache before.
        return np.stack([self._vector(key) for key in keys]).astype(np.float32)

    def _vector(self, key: bytes) -> np.ndarray:
        part, row = self._places[key]
        return self._vectors[part][row]

    def _keep(self, texts: list[TextAndRole], vectors: np.ndarray) -> None:
        rows = vectors.astype(np.float16)
        path = self._part()
        start = path.stat().st_size // rows[0].nbytes if path.is_file() else 0
        # Vectors before keys: a key on disk has its vector, or after a power cut an empty row, which is seen when it is read.
        with path.open("ab") as file:
            file.write(rows.tobytes())
        keys = [_key(text) for text in texts]
        with path.with_suffix(".keys").open("ab") as file:
            file.write(b"".join(keys))
        if start == 0 and not (self.folder / "teacher.json").is_file():
            (self.folder / "teacher.json").write_text(json.dumps({"identity": self._identity, "dimensions": rows.shape[1]}) + "\n", encoding="utf-8")
        self._vectors[path.stem] = np.memmap(path, np.float16, "r").reshape(-1, rows.shape[1])
        self._places |= {key: (path.stem, start + i) for i, key in enumerate(keys)}

    def _read(self, path: Path) -> None:
        """Take a part's whole rows; what a crash left behind the last one is cut off where the part is our own."""
        about = self.folder / "teacher.json"
        vectors, keys = path.with_suffix(".f16"), path.read_bytes()
        if not about.is_file() or not vectors.is_file():
            return
        dimensions = json.loads(about.read_text(encoding="utf-8"))["dimensions"]
        count = min(len(keys) // KEY_BYTES, vectors.stat().st_size // (2 * dimensions))
        if path.stem == str(self.process):
            _truncate(path, count * KEY_BYTES)
            _truncate(vectors, count * 2 * dimensions)
        if not count:
            return
        rows = np.memmap(vectors, np.float16, "r")[: count * dimensions].reshape(count, dimensions)
        self._vectors[path.stem] = rows
        whole = np.concatenate([np.abs(rows[start : start + 65536]).max(axis=1) > 0 for start in range(0, count, 65536)])
        self._places |= {keys[i * KEY_BYTES : (i + 1) * KEY_BYTES]: (path.stem, i) for i in np.flatnonzero(whole).tolist()}

    def _part(self) -> Path:
        return self.folder / f"{self.process}.f16"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", type=Path, required=True, metavar="FILE", help="YAML or JSON with teacher, teacher_cache and stages")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one value of the recipe")
    parser.add_argument("--records", type=int, default=0, metavar="N", help="of each source the first N alone (default all)")
    parser.add_argument("--share", type=_share, default=(0, 1), metavar="I/N", help="the I-th of N shares, from 1: N such commands at once fill one cache")


def run(arguments: argparse.Namespace) -> None:
    recipe = load_recipe(arguments.recipe, arguments.set)
    caches = [teacher for teacher in open_teachers(recipe, arguments.share[0]) if isinstance(teacher, TeacherCache)]
    if not caches:
        raise InputError("teach needs a recipe with teacher and teacher_cache")
    with StopSignal() as stop:
        for cache in caches:
            teach(recipe, cache, stop, arguments.records, arguments.share)
    emit("done", folder=str(caches[0].folder if len(caches) == 1 else caches[0].folder.parent), texts=min(len(cache) for cache in caches))


def teach(recipe: Recipe, teacher: TeacherCache, stop: StopSignal, records_max: int = 0, share: tuple[int, int] = (0, 1)) -> None:
    """Fill the cache with every text of the recipe's sources; of a `share` (i, n), with those of every n-th block from i on."""
    paths = list(dict.fromkeys(source.path for stage in recipe.stages for source in stage.sources))
    stores = [open_store(Path(path), Path(recipe.output) / "data", store_name(i, path), recipe.bad_lines_share_max)
              for i, path in enumerate(paths)]
    counts = [min(len(store), records_max or len(store)) for store in stores]
    done, began = 0, time.monotonic()
    for store, count in zip(stores, counts, strict=True):
        for start in range(share[0] * TEACH_TEXTS // 2, count, share[1] * TEACH_TEXTS // 2):
            if stop.asked:
                raise Interrupted(f"stopped with {len(teacher)} texts; the same command goes on")
            records = range(start, min(start + TEACH_TEXTS // 2, count))
            texts = [text for text in dict.fromkeys(texts_of(store, records)) if text not in teacher]
            if texts:
                teacher(texts)
            done = done + len(records)
            emit("progress", stage="teach", step=done, of=sum(counts) // share[1], texts=len(teacher),
                 etaSeconds=round(max(0.0, (time.monotonic() - began) / done * (sum(counts) / share[1] - done)), 1))


def _share(text: str) -> tuple[int, int]:
    """"2/3" -> (1, 3)"""
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} must read I/N with I from 1 to N")
    return int(number) - 1, int(count)


def texts_of(store: RecordStore, numbers: range) -> Iterator[TextAndRole]:
    for number in numbers:
        record = store[number]
        yield record.query, "query"
        yield from ((text, "document") for text in (record.positive, *record.negatives))


def _identity(teacher: TeacherShare, bf16: bool) -> str:
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


def _truncate(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)
