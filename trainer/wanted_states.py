"""What a shortened encoder is to say of every token: the hidden states of the whole, moved to where further teachers see the text."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from trainer.bert_layers import BertLayers, Packing, Run
from trainer.errors import InputError
from trainer.model import PoolingChoice, new_model
from trainer.packed_texts import PackedTexts

CHUNK_TOKENS = 512  # of a pass: what lies between its layers fits a core's cache
SAMPLE_TEXTS = 4000


class Reader:
    """A frozen BERT that reads packed texts."""

    def __init__(self, folder: Path, max_tokens: int) -> None:
        self.folder, self.longest, model = folder, max_tokens, new_model(folder, PoolingChoice(mode="mean"), max_tokens)[0].model
        self.table = model.embeddings.eval().requires_grad_(False)
        self.packing = Packing(BertLayers(model))
        self.layers = self.packing.layers

    def run(self) -> Run:
        return self.packing.run(CHUNK_TOKENS, self.longest, backward=False)

    def embedded(self, texts: Sequence[np.ndarray]) -> Tensor:
        """[tokens, dimensions] in bfloat16: what the layers are given."""
        ids = torch.from_numpy(np.concatenate(texts)).long()
        positions = torch.cat([torch.arange(len(text)) for text in texts])
        with torch.no_grad():
            return self.table.LayerNorm(self.table.word_embeddings(ids) + self.table.position_embeddings(positions) + self.table.token_type_embeddings.weight[0]).bfloat16()

    def vectors(self, texts: PackedTexts, rows: Sequence[int], run: Run) -> Tensor:
        """[texts, dimensions] of length 1, pooled by mean; of a chunk."""
        lengths = texts.lengths(rows)
        states, _ = run.forward(self.embedded([texts[row] for row in rows]), lengths)
        return nn.functional.normalize(means(states[-1], lengths))


class Further:
    """Where further teachers would have a text's vector, [texts, dimensions] in shares of its length:

        s sum over teachers k of share_k z_k R_k,      z_k = (v_k - m_k) / |v_k - m_k|

    v_k is teacher k's vector and m_k its mean over a sample; R_k turns (orthogonal Procrustes) the z_k of the sample to where the whole's own vectors lie, less their mean;
    s is how long those are. So the student's space stays the whole's, and what teachers disagree in is moved a little.
    """

    def __init__(self, teachers: Sequence[tuple[Reader, float]], whole: Reader, texts: PackedTexts, path: Path) -> None:
        self.teachers, self.texts = teachers, texts
        if not path.is_file():
            np.savez(path, **self._fitted(whole))
        held = np.load(path)
        self.turns = [(torch.from_numpy(held[f"mean{k}"]), torch.from_numpy(held[f"turn{k}"])) for k in range(len(teachers))]

    def __call__(self, rows: Sequence[int], runs: Sequence[Run]) -> Tensor:
        return sum(nn.functional.normalize(reader.vectors(self.texts, rows, run) - mean) @ turn
                   for (reader, _), run, (mean, turn) in zip(self.teachers, runs, self.turns, strict=True))

    def _fitted(self, whole: Reader) -> dict[str, np.ndarray]:
        sample = [int(row) for row in np.random.default_rng(0).permutation(len(self.texts))[:SAMPLE_TEXTS]]
        own = self._of_sample(whole, sample)
        own = own - own.mean(dim=0)
        fitted = {}
        for k, (reader, share) in enumerate(self.teachers):
            vectors = self._of_sample(reader, sample)
            mean = vectors.mean(dim=0)
            left, _, right = torch.linalg.svd(nn.functional.normalize(vectors - mean).T @ own, full_matrices=False)
            fitted |= {f"mean{k}": mean.numpy(), f"turn{k}": (share * own.norm(dim=1).mean() * left @ right).numpy()}
        return fitted

    def _of_sample(self, reader: Reader, sample: Sequence[int]) -> Tensor:
        run = reader.run()
        return torch.cat([reader.vectors(self.texts, chunk, run) for chunk in self.texts.chunks(sample, CHUNK_TOKENS)])


class WantedStates:
    """Computed when they are asked for."""

    def __init__(self, further: Further | None, places: Sequence[int], texts: PackedTexts) -> None:
        self.further, self.places, self.texts = further, list(places), texts

    def __call__(self, rows: Sequence[int], embedded: Tensor, runs: Sequence[Run]) -> Tensor:
        """[places, tokens, dimensions] in bfloat16 of a chunk; `runs` are the whole's and the further teachers'."""
        lengths = self.texts.lengths(rows)
        states = runs[0].forward(embedded, lengths)[0][self.places, : len(embedded)]
        if self.further:
            moved = self.further(rows, runs[1:]) * means(states[-1], lengths).norm(dim=1, keepdim=True)
            states[-1] = (states[-1].float() + torch.repeat_interleave(moved, torch.tensor(lengths), dim=0)).bfloat16()
        return states

    def save(self) -> None:
        """Nothing is kept."""


class KeptStates(WantedStates):
    """Of every text computed once, and kept on the disk: [tokens of all texts, places, dimensions] in bfloat16."""

    def __init__(self, further: Further | None, places: Sequence[int], texts: PackedTexts, dimensions: int, folder: Path) -> None:
        super().__init__(further, places, texts)
        path, self._known_path = folder / "wanted.bf16", folder / "known.npy"
        self.states = np.memmap(path, np.int16, "r+" if path.is_file() else "w+", shape=(len(texts.ids), len(self.places), dimensions))
        self.known = np.load(self._known_path) if self._known_path.is_file() else np.zeros(len(texts), bool)

    def __call__(self, rows: Sequence[int], embedded: Tensor, runs: Sequence[Run]) -> Tensor:
        if self.known[rows].all():
            return torch.from_numpy(np.concatenate([self.states[self.texts.span(row)] for row in rows])).view(torch.bfloat16).transpose(0, 1).contiguous()
        states = super().__call__(rows, embedded, runs)
        every = states.transpose(0, 1).contiguous().view(torch.int16).numpy()
        for row, own in zip(rows, np.split(every, np.cumsum(self.texts.lengths(rows))[:-1]), strict=True):
            self.states[self.texts.span(row)] = own
        self.known[rows] = True
        return states

    def save(self) -> None:
        """What is known is on the disk before it is said to be."""
        self.states.flush()
        own = self._known_path.with_suffix(".part.npy")
        np.save(own, self.known)
        own.replace(self._known_path)

    @staticmethod
    def bytes(texts: PackedTexts, places: int, dimensions: int) -> int:
        return 2 * len(texts.ids) * places * dimensions


def open_teachers(folders_and_shares: Sequence[str], whole: Reader) -> list[tuple[Reader, float]]:
    """Of FOLDER=SHARE each; raises InputError where one cannot teach this student."""
    teachers = []
    for entry in folders_and_shares:
        folder, _, share = entry.rpartition("=")
        if not folder or not share.replace(".", "", 1).isdigit():
            raise InputError(f"--also takes FOLDER=SHARE, for example runs/e5-small=0.3, not {entry!r}")
        teachers.append((Reader(Path(folder), whole.longest), float(share)))
        if _vocabulary(Path(folder)) != _vocabulary(whole.folder):
            raise InputError(f"{folder} reads other tokens than {whole.folder}: further teachers share the encoder's tokenizer")
    return teachers


def _vocabulary(folder: Path) -> dict[str, int]:
    return json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]


def means(states: Tensor, lengths: Sequence[int]) -> Tensor:
    """[texts, dimensions] of packed states [tokens or more, dimensions]."""
    return sums(states[: sum(lengths)].float(), lengths) / torch.tensor(lengths)[:, None]


def sums(tokens: Tensor, lengths: Sequence[int]) -> Tensor:
    """[texts, dimensions] of packed tokens [tokens, dimensions]."""
    of = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    return torch.zeros(len(lengths), tokens.shape[1]).index_add(0, of, tokens)
