"""What is judged: a saved sentence-transformers model, a model version folder, or a server that runs.

Each gives unit rows [texts, dimensions] in float32 for texts in a role: "query", "document", or "" for neither.
"""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from trainer.errors import InputError
from trainer.model import load_model
from trainer.precision import warn_of_slow_bf16

HTTP_BATCH = 64
HTTP_TIMEOUT_SECONDS = 300


class TextEncoder(Protocol):
    def encode(self, texts: Sequence[str], role: str) -> np.ndarray: ...


class ModelEncoder:
    """A sentence-transformers model in PyTorch; prompts are the model's own."""

    def __init__(self, model: SentenceTransformer, batch: int = 0, dimensions: int | None = None, bf16: bool = False) -> None:
        """`batch` 0: 64 texts on a GPU, 16 on a CPU, whose caches hold the activations of no more. `dimensions` cuts vectors as Matryoshka training allows; `bf16` computes under autocast, which AMX and GPUs do several times as fast."""
        self.model, self.batch, self.dimensions, self.bf16 = model, batch or (16 if model.device.type == "cpu" else 64), dimensions, bf16

    def encode(self, texts: Sequence[str], role: str) -> np.ndarray:
        training = self.model.training
        prompt = self.model.prompts.get(role, "") if role else ""
        with torch.inference_mode(), torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.bf16):
            vectors = self.model.encode([prompt + text for text in texts], batch_size=self.batch, truncate_dim=self.dimensions,
                                        normalize_embeddings=True, show_progress_bar=False)
        self.model.train(training)
        return np.asarray(vectors, dtype=np.float32)


class VersionEncoder:
    """A model version folder in ONNX Runtime, as the server computes it."""

    def __init__(self, folder: Path, threads: int = 0) -> None:
        # Imported here: judging a PyTorch model needs no ONNX Runtime.
        from trainer.synthesize.encoder import Encoder

        self._encoder = Encoder(folder, threads=threads)

    def encode(self, texts: Sequence[str], role: str) -> np.ndarray:
        return self._encoder.embed(texts, role)


class HttpEncoder:
    """A running server's POST /embed: what is measured is what is served. Its mteb form is in mteb_encoder.py.

    A `url` that ends in ?layers=N asks for what leaves the model behind N layers, one of its early exits.
    """

    def __init__(self, url: str, batch: int = HTTP_BATCH, dimensions: int | None = None, token: str = "") -> None:
        address, _, exit_ = url.partition("?")
        if exit_ and not re.fullmatch(r"layers=\d+", exit_):
            raise InputError(f"{url}: behind the question mark of a server's address stands layers=N, or nothing")
        self.layers = int(exit_.removeprefix("layers=") or 0)
        self.url, self.batch, self.dimensions, self.token = address.rstrip("/"), batch, dimensions, token

    def encode(self, texts: Sequence[str], role: str) -> np.ndarray:
        """An empty text, of which some corpora have one, is refused by a server: it gets zeros, which are like nothing."""
        asked = [i for i, text in enumerate(texts) if text.strip()]
        found = [self._post([texts[i] for i in asked[start : start + self.batch]], role) for start in range(0, len(asked), self.batch)]
        vectors = np.zeros((len(texts), found[0].shape[1] if found else 0), np.float32)
        if found:
            vectors[asked] = np.concatenate(found)
        return vectors

    def fingerprint(self) -> str:
        """What model it serves: a model version's fingerprint."""
        return str(self._ask("info")["fingerprint"])

    def _post(self, texts: list[str], role: str) -> np.ndarray:
        body = {"inputs": texts, "normalize": True, "truncate": True}
        if role:
            body["prompt_name"] = role
        if self.dimensions:
            body["dimensions"] = self.dimensions
        if self.layers:
            body["layers"] = self.layers
        return np.array(self._ask("embed", json.dumps(body).encode()))

    def _ask(self, route: str, body: bytes | None = None) -> Any:
        headers = {"content-type": "application/json", **({"authorization": f"Bearer {self.token}"} if self.token else {})}
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{self.url}/{route}", body, headers), timeout=HTTP_TIMEOUT_SECONDS) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise InputError(f"{self.url}/{route} answered {error.code}: {error.read(500).decode(errors='replace')}") from error
        except (urllib.error.URLError, TimeoutError, ValueError) as error:
            raise InputError(f"{self.url}/{route} gave no answer that can be read: {error}") from error


def is_url(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def open_encoder(place: str, dimensions: int | None = None, bf16: bool = False) -> TextEncoder:
    """`place` is a URL, a model version folder (manifest.json), or a saved sentence-transformers model (modules.json), which alone `bf16` concerns."""
    if is_url(place):
        return HttpEncoder(place, dimensions=dimensions)
    folder = Path(place)
    if (folder / "manifest.json").is_file():
        encoder = VersionEncoder(folder)
        return CutEncoder(encoder, dimensions) if dimensions else encoder
    model = load_model(folder)
    warn_of_slow_bf16(bf16, model.device)
    return ModelEncoder(model, dimensions=dimensions, bf16=bf16)


class CutEncoder:
    """The first `dimensions` of another encoder's vectors, brought back to length 1."""

    def __init__(self, encoder: TextEncoder, dimensions: int) -> None:
        self.encoder, self.dimensions = encoder, dimensions

    def encode(self, texts: Sequence[str], role: str) -> np.ndarray:
        vectors = self.encoder.encode(texts, role)[:, : self.dimensions]
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
