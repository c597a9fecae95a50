"""From a batch of texts to the gradients of a loss over all their embeddings, in micro-batches and over processes.

GradCache (arXiv 2101.06983): the loss needs embeddings, not activations, so

1. every micro-batch is embedded (`cached`: without keeping activations);
2. the loss is computed over all embeddings, and its gradient by them;
3. every micro-batch is run backward from its rows of that gradient (`cached`: after embedding it again).

The result is the gradient of the whole batch, exactly, at the memory of one micro-batch. Texts of like length share a
micro-batch, so little is padding. Dropout is seeded by the micro-batch, not by the process, so that the second pass, a resumed
run, and a run over more processes all drop the same.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from trainer.data.batches import TextBatch
from trainer.distributed import Processes
from trainer.exit_layers import at_exit, pooled
from trainer.imitation import Imitated, Imitation, imitation_loss
from trainer.losses.batch import EmbeddedBatch

SMALL_CHUNK = 16  # texts; on a CPU filled up to a power of two
TOKENS_STEP = 8


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
        exit_layers: tuple[int, ...] = (), teacher: Callable[[list[tuple[str, str]]], np.ndarray] | None = None, imitated: Imitated | None = None,
    ) -> None:
        self.model, self.processes, self.micro_batch, self.cached, self.bf16 = model, processes, micro_batch, cached, bf16
        self.exit_layers, self.teacher, self.imitated = exit_layers, teacher, imitated

    def add(
        self, texts: TextBatch, loss: Callable[[EmbeddedBatch], Tensor], seed: int, scale: float = 1.0, imitation: Imitation | None = None,
    ) -> BatchResult:
        """Run forward and backward; gradients are `scale` times the loss's, and this process's share of the sum.

        With `imitation`, every text's own distance from what is imitated is added to the loss, as a mean over texts; teachers that are
        imitated are also what the loss has for a teacher.
        """
        counts = token_counts(self.model, texts.texts)
        chunks = length_sorted(counts, self.micro_batch, self.model.max_seq_length)
        mine = self.processes.share([len(chunk) * counts[chunk[0]] for chunk in chunks])
        features = {i: micro_batch_features(self.model, [texts.texts[row] for row in chunks[i]]) for i in mine}
        embedded: dict[int, tuple[Tensor, Tensor]] = {}
        layers, dimensions = 1 + len(self.exit_layers), self.model.get_embedding_dimension()
        whole = torch.zeros(layers, len(texts.texts), dimensions, device=self.processes.device)
        followed = torch.zeros_like(whole[0])

        def embed(i: int) -> tuple[Tensor, Tensor]:
            """[1 + exits, texts, dimensions], and the chunk's share of the distance from what is imitated."""
            vectors, hidden_states = self._embed(features[i], seed + i)
            vectors = vectors[:, : len(chunks[i])]
            if imitation is None:
                return vectors, vectors.new_zeros(())
            apart, followed[chunks[i]] = imitation_loss(self.imitated, imitation, features[i], hidden_states, vectors[0])
            return vectors, apart * (len(chunks[i]) / len(texts.texts))

        for i in mine:
            with torch.no_grad() if self.cached else nullcontext():
                embedded[i] = embed(i)
            whole[:, chunks[i]] = embedded[i][0].detach()
        whole = self.processes.add_up(whole).requires_grad_()
        if imitation is not None and self.imitated.is_teacher:
            teacher = self.processes.add_up(followed)
        else:
            teacher = self._teacher_vectors(texts, chunks, mine)
        batch = self._batch(texts, whole, teacher)
        torch.manual_seed(seed)  # a loss that draws (hard-negative mixing) must draw the same in every process
        value = loss(batch)
        if not torch.isfinite(value):
            return BatchResult(value.item(), 0, batch)
        (value * scale).backward()
        apart = whole.new_zeros(())
        for i in mine:
            again, own = embed(i) if self.cached else embedded.pop(i)
            # Both at once, for they share the activations.
            (own * scale + (again * whole.grad[:, chunks[i]]).sum()).backward()
            apart += own.detach()
        tokens = torch.tensor(float(sum(int(features[i]["attention_mask"][: len(chunks[i])].sum()) for i in mine)), device=whole.device)
        detached = whole.detach()
        return BatchResult(value.item() + self.processes.add_up(apart).item(), int(self.processes.add_up(tokens)),
                           replace(batch, embeddings=detached[0], exits={}))

    def _embed(self, features: dict[str, Tensor], seed: int) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """[1 + exits, texts, dimensions] of length 1, in float32; and all layers' hidden states where the model gives them."""
        torch.manual_seed(seed)
        with torch.autocast(self.processes.device.type, torch.bfloat16, enabled=self.bf16):
            output = self.model[0](dict(features))
            vectors = [pooled(self.model, output)]
            vectors += [pooled(self.model, at_exit(output, layer)) for layer in self.exit_layers]
        return torch.stack(vectors).float(), output.get("all_layer_embeddings")

    def _batch(self, texts: TextBatch, whole: Tensor, teacher: Tensor | None) -> EmbeddedBatch:
        device = whole.device
        moved = {name: value.to(device) for name, value in vars(texts.indices).items() if isinstance(value, Tensor) and name != "embeddings"}
        return replace(texts.indices, **moved, embeddings=whole[0], teacher=teacher,
                       exits={layer: whole[i + 1] for i, layer in enumerate(self.exit_layers)})

    def _teacher_vectors(self, texts: TextBatch, chunks: list[list[int]], mine: list[int]) -> Tensor | None:
        """[texts, teacher dimensions], each process asking the teacher for its own share."""
        if self.teacher is None:
            return None
        rows = [row for i in mine for row in chunks[i]] or [0]
        vectors = torch.from_numpy(self.teacher([texts.plain[row] for row in rows])).to(self.processes.device)
        whole = torch.zeros(len(texts.texts), vectors.shape[1], device=vectors.device)
        if mine:
            whole[rows] = vectors
        return self.processes.add_up(whole)


def token_counts(model: SentenceTransformer, texts: list[str]) -> list[int]:
    """Of each text as the model reads it, special tokens included."""
    read = model.tokenizer(texts, truncation=True, max_length=model.max_seq_length, return_attention_mask=False, return_token_type_ids=False)
    return [len(ids) for ids in read["input_ids"]]


def length_sorted(counts: Sequence[int], size: int, tokens_max: int) -> list[list[int]]:
    """Numbers of texts with `counts` tokens in chunks of like length; longest first, so that memory runs out at once or never.

    A chunk costs no more than `size` texts of `tokens_max` tokens do; of shorter texts it has more. Its size is a power of two,
    but for the last SMALL_CHUNK, so that few sizes occur.
    """
    order = sorted(range(len(counts)), key=lambda row: (-counts[row], row))
    chunks: list[list[int]] = []
    while order:
        count = min(len(order), max(1, size * tokens_max // counts[order[0]]))
        if count < len(order) or count > SMALL_CHUNK:
            count = 1 << (count.bit_length() - 1)
        chunks.append(order[:count])
        order = order[count:]
    return chunks


def micro_batch_features(model: SentenceTransformer, texts: list[str]) -> dict[str, Tensor]:
    """The tokens of `texts`, on the model's device; on a CPU with rows and columns of padding, so that few shapes occur."""
    if model.device.type == "cpu":
        rows = 1 << (len(texts) - 1).bit_length()
        return _of_common_length(model.preprocess(texts + [""] * (rows - len(texts))), model.max_seq_length, model.tokenizer.pad_token_id)
    return {key: value.to(model.device) if isinstance(value, Tensor) else value for key, value in model.preprocess(texts).items()}


def _of_common_length(features: dict[str, Tensor], tokens_max: int, pad: int) -> dict[str, Tensor]:
    """Tokens padded to a multiple of TOKENS_STEP: on a CPU every new shape costs the making of its kernels, which took as long as a short batch."""
    tokens = features["input_ids"].shape[1]
    missing = max(0, min(tokens + -tokens % TOKENS_STEP, tokens_max) - tokens)
    return {key: torch.nn.functional.pad(value, (0, missing), value=pad if key == "input_ids" else 0) if isinstance(value, Tensor) and value.dim() == 2 else value
            for key, value in features.items()}
