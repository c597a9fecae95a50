"""From a batch of texts to the gradients of a loss over all their embeddings, in micro-batches and over processes.

GradCache (arXiv 2101.06983): the loss needs embeddings, not activations, so

1. every micro-batch is embedded (`cached`: without keeping activations);
2. the loss is computed over all embeddings, and its gradient by them;
3. every micro-batch is run backward from its rows of that gradient (`cached`: after embedding it again).

The result is the gradient of the whole batch, exactly, at the memory of one micro-batch. Texts of like length share a
micro-batch, so little is padding. Dropout is seeded by the micro-batch, not by the process, so that the second pass, a resumed
run, and a run over more processes all drop the same.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from trainer.data.batches import TextBatch
from trainer.distributed import Processes
from trainer.losses.batch import EmbeddedBatch

# Up to here the scores that plain attention holds are small beside the other activations of a layer.
PLAIN_ATTENTION_TOKENS_MAX = 128


@dataclass(frozen=True)
class BatchResult:
    """`batch` holds the embeddings, detached."""

    loss: float
    tokens: int
    batch: EmbeddedBatch


class BatchGradients:
    """Adds the gradient of one batch to the model's parameters."""

    def __init__(
        self, model: SentenceTransformer, processes: Processes, micro_batch: int = 64, cached: bool = False, bf16: bool = False,
        exit_layers: tuple[int, ...] = (), teacher: Callable[[list[tuple[str, str]]], np.ndarray] | None = None,
    ) -> None:
        self.model, self.processes, self.micro_batch, self.cached, self.bf16 = model, processes, micro_batch, cached, bf16
        self.exit_layers, self.teacher = exit_layers, teacher

    def add(self, texts: TextBatch, loss: Callable[[EmbeddedBatch], Tensor], seed: int, scale: float = 1.0) -> BatchResult:
        """Run forward and backward; gradients are `scale` times the loss's, and this process's share of the sum."""
        chunks = length_sorted(texts.texts, self.micro_batch)
        mine = self.processes.share(chunks)
        features = {i: self._features([texts.texts[row] for row in chunks[i]]) for i in mine}
        vectors: dict[int, Tensor] = {}
        layers, dimensions = 1 + len(self.exit_layers), self.model.get_embedding_dimension()
        whole = torch.zeros(layers, len(texts.texts), dimensions, device=self.processes.device)
        for i in mine:
            with torch.no_grad() if self.cached else nullcontext():
                vectors[i] = self._embed(features[i], seed + i)
            whole[:, chunks[i]] = vectors[i].detach()
        whole = self.processes.add_up(whole).requires_grad_()
        batch = self._batch(texts, whole, chunks, mine)
        torch.manual_seed(seed)  # a loss that draws (hard-negative mixing) must draw the same in every process
        value = loss(batch)
        if not torch.isfinite(value):
            return BatchResult(value.item(), 0, batch)
        (value * scale).backward()
        for i in mine:
            again = self._embed(features[i], seed + i) if self.cached else vectors.pop(i)
            again.backward(whole.grad[:, chunks[i]])
        tokens = torch.tensor(float(sum(int(feature["attention_mask"].sum()) for feature in features.values())), device=whole.device)
        detached = whole.detach()
        return BatchResult(value.item(), int(self.processes.add_up(tokens)), replace(batch, embeddings=detached[0], exits={}))

    def _features(self, texts: list[str]) -> dict[str, Tensor]:
        features = self.model.preprocess(texts)
        return {key: value.to(self.processes.device) if isinstance(value, Tensor) else value for key, value in features.items()}

    def _embed(self, features: dict[str, Tensor], seed: int) -> Tensor:
        """[1 + exits, texts, dimensions] of length 1, in float32."""
        torch.manual_seed(seed)
        with self._attention(features), torch.autocast(self.processes.device.type, torch.bfloat16, enabled=self.bf16):
            output = self.model[0](dict(features))
            vectors = [self._pool(output)]
            for layer in self.exit_layers:
                at_exit = {**output, "token_embeddings": output["all_layer_embeddings"][layer]}
                if "exit_received_attention" in output:
                    at_exit["received_attention"] = output["exit_received_attention"][layer - 1]
                vectors.append(self._pool(at_exit))
        return torch.stack(vectors).float()

    def _attention(self, features: dict[str, Tensor]) -> AbstractContextManager:
        """The fused attention, but on a CPU for short texts: its backward pass there takes several times as long as plain products."""
        plain = self.processes.device.type == "cpu" and features["input_ids"].shape[1] <= PLAIN_ATTENTION_TOKENS_MAX
        return sdpa_kernel(SDPBackend.MATH) if plain else nullcontext()

    def _pool(self, features: dict[str, Tensor]) -> Tensor:
        for module in list(self.model)[1:]:
            features = module(dict(features))
        return features["sentence_embedding"]

    def _batch(self, texts: TextBatch, whole: Tensor, chunks: list[list[int]], mine: list[int]) -> EmbeddedBatch:
        device = whole.device
        moved = {name: value.to(device) for name, value in vars(texts.indices).items() if isinstance(value, Tensor) and name != "embeddings"}
        return replace(texts.indices, **moved, embeddings=whole[0], teacher=self._teacher_vectors(texts, chunks, mine, device),
                       exits={layer: whole[i + 1] for i, layer in enumerate(self.exit_layers)})

    def _teacher_vectors(self, texts: TextBatch, chunks: list[list[int]], mine: list[int], device: torch.device) -> Tensor | None:
        """[texts, teacher dimensions], each process asking the teacher for its own share."""
        if self.teacher is None:
            return None
        rows = [row for i in mine for row in chunks[i]] or [0]
        vectors = torch.from_numpy(self.teacher([texts.plain[row] for row in rows])).to(device)
        whole = torch.zeros(len(texts.texts), vectors.shape[1], device=device)
        if mine:
            whole[rows] = vectors
        return self.processes.add_up(whole)


def length_sorted(texts: list[str], size: int) -> list[list[int]]:
    """Rows of `texts` in chunks of at most `size`, of like length; longest first, so that memory runs out at once or never."""
    order = sorted(range(len(texts)), key=lambda row: (-len(texts[row]), row))
    return [order[start : start + size] for start in range(0, len(order), size)]
