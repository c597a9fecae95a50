"""The encoder that measures similarity: a model version folder in ONNX Runtime, pooled as its manifest says. No PyTorch.

    w_j = r_j^gamma / sum_k r_k^gamma        e = normalize(sum_j w_j * H_j)        (r is the graph's received_attention)
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from trainer.errors import InputError

BATCH_TOKENS = 4096  # padded cost of a batch: longest x rows
CACHED_TEXTS = 20_000


class Encoder:
    """Embeds texts to unit rows [n, dimensions] in float32. Threads may share one encoder."""

    def __init__(self, folder: Path, threads: int = 0, max_tokens: int = 512) -> None:
        """`folder` holds manifest.json, model.onnx and tokenizer.json; texts are cut to `max_tokens`, or to the model's own bound."""
        self.manifest = _manifest(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(min(max_tokens, self.manifest["maxTokens"]))
        self._cache: OrderedDict[tuple[str, str], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def dimensions(self) -> int:
        return int(self.manifest["dimensions"])

    def facts(self) -> dict[str, Any]:
        """What the data's manifest says of the encoder."""
        return {key: self.manifest[key] for key in ("name", "version", "fingerprint", "pooling", "quantization")}

    def embed(self, texts: Sequence[str], kind: str = "document") -> np.ndarray:
        """Unit rows [texts, dimensions], with the manifest's prompt for `kind` ("query" or "document") before each text."""
        missing = list(dict.fromkeys(text for text in texts if not self._cached(kind, text)))
        vectors = dict(zip(missing, self._compute([self.manifest["prompts"].get(kind, "") + text for text in missing]), strict=True))
        with self._lock:
            for text, vector in vectors.items():
                self._cache[kind, text] = vector
            rows = [self._cache[kind, text] if text not in vectors else vectors[text] for text in texts]
            while len(self._cache) > CACHED_TEXTS:
                self._cache.popitem(last=False)
        return np.stack(rows) if rows else np.zeros((0, self.dimensions), np.float32)

    def _cached(self, kind: str, text: str) -> bool:
        with self._lock:
            if (kind, text) not in self._cache:
                return False
            self._cache.move_to_end((kind, text))
            return True

    def _compute(self, texts: list[str]) -> list[np.ndarray]:
        """Rows in the order of `texts`, computed in length-sorted batches so that little is padding."""
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        result: list[np.ndarray] = [np.empty(0)] * len(rows)
        for batch in _batches([len(row) for row in rows]):
            for i, vector in zip(batch, self._run([rows[i] for i in batch]), strict=True):
                result[i] = vector
        return result

    def _run(self, rows: list[list[int]]) -> np.ndarray:
        """Token id rows -> unit rows [batch, dimensions]."""
        ids = np.full((len(rows), max(map(len, rows))), self.manifest["padTokenId"], dtype=np.int64)
        mask = np.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        outputs, pooling = self.manifest["outputs"], self.manifest["pooling"]
        # Under another pooling than ATA a version need not have the second.
        names = [outputs["hiddenStates"], *([outputs["receivedAttention"]] if pooling["mode"] == "ata" else [])]
        fed = {name: arrays[name] for name in self.manifest["inputs"]}
        if self.manifest.get("exits"):
            fed["layers"] = np.zeros(1, np.int64)
        hidden, *received = self._session.run(names, fed)
        weights = _weights(pooling, mask, *received)
        vectors = np.einsum("bt,bth->bh", weights, hidden)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _weights(pooling: dict[str, Any], mask: np.ndarray, received: np.ndarray | None = None) -> np.ndarray:
    """Token weights [batch, tokens] for right-padded rows; their scale does not matter, for the sum is normalized. ATA needs `received`."""
    if pooling["mode"] == "ata":
        return np.power(np.maximum(received, 0), pooling["gamma"], dtype=np.float32) * mask
    weights = np.zeros(mask.shape, np.float32)
    if pooling["mode"] == "mean":
        weights[:] = mask
    else:
        weights[np.arange(len(mask)), 0 if pooling["mode"] == "cls" else mask.sum(axis=1) - 1] = 1
    return weights


def _batches(lengths: list[int]) -> list[list[int]]:
    """Indices grouped by rising length, each group's padded cost within BATCH_TOKENS."""
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not batches or lengths[i] * (len(batches[-1]) + 1) > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(i)
    return batches


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.is_file():
        raise InputError(f"{folder} is no model version folder: it has no manifest.json (give --encoder models/<name>/<version>)")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    mode = manifest.get("pooling", {}).get("mode")
    if mode not in ("ata", "mean", "cls", "last"):
        raise InputError(f"{path}: pooling {mode!r} cannot be measured with; use a version pooled by ata, mean, cls or last")
    return manifest
