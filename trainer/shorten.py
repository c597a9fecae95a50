"""Make an encoder of fewer layers that does what all of them did: the student keeps some of the layers and learns, from texts alone, the hidden
states of the whole.

    python -m trainer shorten --encoder FOLDER --keep 0 2 6 8 9 10 --texts FOLDER --tokens 20e6 --output runs/short

--encoder is a BERT pooled by mean, as transformers or sentence-transformers save it (`trainer base` makes one of a model version). FOLDER of --texts has
files of JSON lines, gzipped or not, of which every string is a text. Written are model/, a sentence-transformers folder under ATA pooling with a
learned gamma; run.json; log.jsonl, a line a step; and while it runs checkpoint.pt, from which the same command goes on after a stop. Where texts come
more than once (--tokens is more than they have) it stands beside the states that are learned, of every text computed once (wanted.bf16: 6 bytes a
token and dimension for six layers).

A token's hidden states say far more than a text's similarities do (TinyBERT, arXiv 1909.10351, section 3.1; the layers kept are an initialisation as
DistilBERT's, arXiv 1910.01108). The loss of a step, over its tokens and texts:

    L = states / K sum over K places k of mean |S_k - T_k|^2 / var(T_k)  +  vectors mean (1 - cos(e_S, e_T))

S_k are the student's states behind its last layer and every second one before, T_k the whole's behind the layer before the next that is kept, the last at the end;
e_S is the student's embedding under its pooling and e_T the mean of the last T. --also moves the last T a little to where further teachers see a
text (trainer/wanted_states.py). Token embeddings stay as they are. Matrices are trained by Muon, vectors by AdamW.

One thread a core reads packed texts (trainer/bert_layers.py): on CPUs with AMX in C++, elsewhere in PyTorch's float32, some times slower.
"""

import argparse
import json
import math
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from trainer import __version__
from trainer.bert_layers import BertLayers, Packing, Run
from trainer.checkpoint import DiskFull, load_moments
from trainer.errors import InputError
from trainer.events import emit
from trainer.finetune import Diverged
from trainer.interruption import Interrupted, StopSignal
from trainer.model import PoolingChoice, load_model, new_model, save_model
from trainer.muon import Float32Muon
from trainer.packed_texts import PackedTexts, packed_texts
from trainer.poolings.anchor_token_aware import AnchorTokenAwarePooling
from trainer.run_log import RunLog
from trainer.training_model import card_head
from trainer.wanted_states import CHUNK_TOKENS, Further, KeptStates, Reader, WantedStates, means, open_teachers, sums

WARMUP = 0.03  # share of the steps
GAMMA_LEARNING_RATE = 0.01
# What the texts' states and their order follow from: a run goes on with the same alone.
FIXED = ("encoder", "keep", "pooling", "start", "also", "texts", "skip", "step_tokens", "max_tokens", "seed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--encoder", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--keep", type=int, nargs="+", required=True, metavar="LAYER", help="numbers from 0; bench/training/layers.py finds them")
    parser.add_argument("--pooling", choices=("ata", "mean", "cls"), default="ata", help="of the student; what it learns from is pooled by mean")
    parser.add_argument("--start", type=Path, metavar="FOLDER", help="a model that this command made of the same layers: go on from it, over other texts")
    parser.add_argument("--texts", type=Path, nargs="+", required=True, metavar="FOLDER")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--tokens", type=float, default=20e6, help="to learn from, however often each comes")
    parser.add_argument("--skip", type=float, default=0, metavar="TOKENS", help="of the texts, in the seed's order: what the model of --start has seen of them")
    parser.add_argument("--also", action="append", default=[], metavar="FOLDER=SHARE", help="a further teacher, pooled by mean, of the encoder's tokenizer")
    parser.add_argument("--step-tokens", type=int, default=16_384)
    parser.add_argument("--max-tokens", type=int, default=256, help="of a text, which is cut there")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--states", type=float, default=1.0, help="weight of the states in the loss")
    parser.add_argument("--vectors", type=float, default=10.0, help="weight of the vectors")
    parser.add_argument("--gamma", type=float, default=0.1, help="of ATA, at first")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkpoint-every", type=int, default=100, metavar="STEPS")
    parser.add_argument("--license", default="", help="of the result, for its card")


def run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)  # each of the run's own threads has one
    if not (arguments.encoder / "config.json").is_file():
        raise InputError(f"there is no encoder at {arguments.encoder}: it has no config.json")
    output: Path = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    _keep_settings(arguments, output / "settings.json")
    texts = packed_texts(arguments.texts, arguments.encoder / "tokenizer.json", arguments.max_tokens, output / "texts.npz")
    emit("texts", texts=len(texts), tokens=len(texts.ids))
    choice = PoolingChoice(mode=arguments.pooling, gamma=arguments.gamma, learn_gamma=True)
    model = new_model(arguments.encoder, choice, arguments.max_tokens, keep_layers=arguments.keep)
    if arguments.start:
        _start(model, arguments.start)
    student = Student(model, arguments, texts)
    if student.packing.missing:
        emit("warning", message=f"layers run in PyTorch, some times slower: {student.packing.missing}")
    steps = math.ceil(arguments.tokens / arguments.step_tokens)
    log = RunLog(output / "log.jsonl", steps, True, "shorten")
    step = student.resume(output / "checkpoint.pt")
    log.resume(step)
    began = time.monotonic()
    with StopSignal() as stop, ThreadPoolExecutor(arguments.threads) as pool:
        batches = texts.batches(arguments.step_tokens, arguments.seed, math.ceil(arguments.skip / arguments.step_tokens) + step)
        while step < steps:
            rate = learning_rate(step, steps)
            found = student.step(next(batches), rate, pool)
            log.step(step, found.loss, arguments.learning_rate * rate, found.norm, found.tokens, 0)
            step += 1
            if stop.asked or step == steps or step % arguments.checkpoint_every == 0:
                student.save(output / "checkpoint.pt", step)
                emit("checkpoint", step=step, states=found.states, vectors=found.vectors, gamma=student.gamma)
            if stop.asked and step < steps:
                raise Interrupted(f"stopped after step {step} of {steps}; run the same command to go on")
    _publish(model, student, arguments, {"steps": steps, "texts": len(texts), "distinctTokens": len(texts.ids), "native": student.packing.library is not None,
                                         "secondsSinceLastStart": round(time.monotonic() - began)})


def learning_rate(step: int, steps: int) -> float:
    """Share of the peak: up over the first steps, then down in a line."""
    return min((step + 1) / (WARMUP * steps + 1), (steps - step) / (steps * (1 - WARMUP)))


@dataclass
class Found:
    """Of a step, or of a part of one."""

    states: float = 0.0
    vectors: float = 0.0
    gamma_gradient: float = 0.0
    tokens: int = 0
    loss: float = 0.0
    norm: float = 0.0


class Worker:
    """A thread's own memory."""

    def __init__(self, student: Packing, readers: Sequence[Reader], longest: int) -> None:
        self.student, self.readers = student.run(CHUNK_TOKENS, longest, backward=True), [reader.run() for reader in readers]
        self.gradients = torch.zeros_like(student.layers.weights)


class Student:
    def __init__(self, model: SentenceTransformer, arguments: argparse.Namespace, texts: PackedTexts) -> None:
        self.arguments, self.texts, self.model = arguments, texts, model
        self.whole = Reader(arguments.encoder, arguments.max_tokens)
        self.packing = Packing(BertLayers(model[0].model))
        self.layers = self.packing.layers
        ends = [*arguments.keep[1:], self.whole.layers.count]
        self.places = {own + 1: place for own, place in enumerate(ends) if (len(ends) - 1 - own) % 2 == 0}
        teachers = open_teachers(arguments.also, self.whole)
        again, places = arguments.skip + arguments.tokens > len(texts.ids), list(self.places.values())
        if again:
            _check_disk(arguments.output, KeptStates.bytes(texts, len(places), self.layers.dimensions))
        further = Further(teachers, self.whole, texts, arguments.output / "further.npz") if teachers else None
        self.wanted = KeptStates(further, places, texts, self.layers.dimensions, arguments.output) if again else WantedStates(further, places, texts)
        self.workers = [Worker(self.packing, [self.whole, *(reader for reader, _ in teachers)], arguments.max_tokens) for _ in range(arguments.threads)]
        self.weights = [nn.Parameter(part) for part in self.layers.parts(self.layers.weights)]
        self.gamma_logit: nn.Parameter | None = getattr(model[1], "gamma_logit", None)  # of the model itself; only ATA has one
        self.optimizers = self._optimizers()
        self.variances = self._variances()

    @property
    def gamma(self) -> float | None:
        return None if self.gamma_logit is None else float(nn.functional.softplus(self.gamma_logit.detach()))

    def step(self, rows: Sequence[int], rate: float, pool: ThreadPoolExecutor) -> Found:
        """One step over the texts of `rows`, at `rate` times the peak learning rate."""
        tokens = sum(self.texts.lengths(rows))
        chunks = self.texts.chunks(rows, CHUNK_TOKENS)
        # Each thread has every so manieth chunk, so that sums are made in the same order whichever is faster.
        shares = [(worker, chunks[number :: len(self.workers)]) for number, worker in enumerate(self.workers)]
        found = Found(tokens=tokens)
        for part in pool.map(lambda share: self._learn(*share, tokens, len(rows)), shares):
            found.states += part.states
            found.vectors += part.vectors
            found.gamma_gradient += part.gamma_gradient
        gradients = self.workers[0].gradients
        for worker in self.workers[1:]:
            gradients += worker.gradients
            worker.gradients.zero_()
        for weight, gradient in zip(self.weights, self.layers.parts(gradients), strict=True):
            weight.grad = gradient
        if self.gamma_logit is not None:
            self.gamma_logit.grad = torch.tensor(found.gamma_gradient)
        found.loss = self.arguments.states * found.states + self.arguments.vectors * found.vectors
        found.norm = float(torch.nn.utils.clip_grad_norm_(self.weights, 1.0))
        if not (math.isfinite(found.loss) and math.isfinite(found.norm)):
            raise Diverged(f"the loss is {found.loss} and its gradient's norm {found.norm}; a lower learning rate is the usual remedy, and the same command goes on "
                           f"from {self.arguments.output / 'checkpoint.pt'} where that was written")
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * rate
            optimizer.step()
        gradients.zero_()
        self.packing.take()
        return found

    def save(self, path: Path, step: int) -> None:
        self.wanted.save()
        own = path.with_suffix(".part")
        torch.save({"step": step, "weights": self.layers.weights, "gamma": self.gamma_logit, "optimizers": [one.state_dict() for one in self.optimizers]}, own)
        own.replace(path)

    def resume(self, path: Path) -> int:
        """Steps done."""
        if not path.is_file():
            return 0
        held = torch.load(path, weights_only=True)
        with torch.no_grad():
            self.layers.weights.copy_(held["weights"])
            if self.gamma_logit is not None:
                self.gamma_logit.copy_(held["gamma"])
        for optimizer, state in zip(self.optimizers, held["optimizers"], strict=True):
            load_moments(optimizer, state)
        self.packing.take()
        return held["step"]

    def trained(self) -> SentenceTransformer:
        """The model with what was learned."""
        self.layers.write_to(self.model[0].model)
        return self.model.eval()

    def _learn(self, worker: Worker, chunks: Sequence[Sequence[int]], tokens: int, texts: int) -> Found:
        """Adds the gradients of `chunks` to the worker's; losses are shares of a step of so many tokens and texts."""
        found = Found()
        for rows in chunks:
            lengths = self.texts.lengths(rows)
            embedded = self.whole.embedded([self.texts[row] for row in rows])
            wanted = self.wanted(rows, embedded, worker.readers)
            states, received = worker.student.forward(embedded, lengths)
            count = len(embedded)
            state_gradients, received_gradient = torch.zeros(states.shape), torch.zeros_like(received)
            for k, place in enumerate(self.places):
                apart = states[place, :count].float() - wanted[k].float()
                factor = 1 / (len(self.places) * self.variances[k] * self.layers.dimensions * tokens)
                found.states += factor * float(apart.square().sum())
                state_gradients[place, :count] = apart * (2 * self.arguments.states * factor)
            last, taken = states[-1, :count].float().requires_grad_(), received[:, :count].clone().requires_grad_()
            gamma = None if self.gamma_logit is None else self.gamma_logit.detach().clone().requires_grad_()
            pooled = self._pooled(last, taken, gamma, lengths)
            away = (1 - nn.functional.cosine_similarity(pooled, means(wanted[-1], lengths))).sum() / texts
            (self.arguments.vectors * away).backward()
            state_gradients[-1, :count] += last.grad
            if gamma is not None:
                received_gradient[:, :count] = taken.grad
                found.gamma_gradient += float(gamma.grad)
            worker.student.backward(state_gradients, received_gradient, worker.gradients)
            found.vectors += away.item()
        return found

    def _pooled(self, last: Tensor, received: Tensor, gamma_logit: Tensor | None, lengths: Sequence[int]) -> Tensor:
        """[texts, dimensions], not of length 1, of packed tokens."""
        if gamma_logit is not None:
            return weighed(last, received, gamma_logit, lengths)
        return means(last, lengths) if self.arguments.pooling == "mean" else last[torch.tensor([0, *lengths[:-1]]).cumsum(0)]

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        rate = self.arguments.learning_rate
        matrices, vectors = [weight for weight in self.weights if weight.dim() > 1], [weight for weight in self.weights if weight.dim() == 1]
        muon = (torch.optim.Muon if self.packing.library else Float32Muon)(matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
        muon.param_groups[0]["peak"] = rate
        rest = [{"params": vectors, "lr": rate, "peak": rate}]
        if self.gamma_logit is not None:
            rest.append({"params": [self.gamma_logit], "lr": GAMMA_LEARNING_RATE, "peak": GAMMA_LEARNING_RATE})
        return [muon, torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=0.0, fused=True)]

    def _variances(self) -> list[float]:
        """Of the whole's states at each place, a dimension, over some texts."""
        run, states = self.whole.run(), []
        for rows in self.texts.chunks(next(self.texts.batches(8 * CHUNK_TOKENS, 0, 0)), CHUNK_TOKENS):
            embedded = self.whole.embedded([self.texts[row] for row in rows])
            states.append(run.forward(embedded, self.texts.lengths(rows))[0][list(self.places.values()), : len(embedded)].float())
        every = torch.cat(states, dim=1)
        return (every - every.mean(dim=1, keepdim=True)).square().mean(dim=(1, 2)).tolist()


def weighed(tokens: Tensor, received: Tensor, gamma_logit: Tensor, lengths: Sequence[int]) -> Tensor:
    """[texts, dimensions], not of length 1: ATA pooling (trainer/poolings/anchor_token_aware.py) of packed tokens [tokens, dimensions] that received [heads, tokens]."""
    weight = (nn.functional.softplus(gamma_logit) * received.sum(dim=0).log()).exp()
    return sums(weight[:, None] * tokens, lengths)


def _keep_settings(arguments: argparse.Namespace, path: Path) -> None:
    """Save what the run follows from, or hold it against what it began with."""
    ours = json.loads(json.dumps({name: getattr(arguments, name) for name in FIXED}, default=str))
    if path.is_file():
        theirs = json.loads(path.read_text(encoding="utf-8"))
        differing = [name for name in FIXED if theirs.get(name) != ours[name]]
        if differing:
            raise InputError(f"{path.parent} holds a run with another {', '.join(differing)}: go on with its own (settings.json) or choose another output")
    path.write_text(json.dumps(ours, indent=2) + "\n", encoding="utf-8")


def _start(model: SentenceTransformer, folder: Path) -> None:
    """Give `model` the layers and the pooling of the one in `folder`, which was shortened alike."""
    began = load_model(folder)
    theirs, own = (BertLayers(one[0].model) for one in (began, model))
    if _mode(began[1]) != _mode(model[1]) or bytes(theirs.shape) != bytes(own.shape):
        raise InputError(f"{folder} cannot be gone on from: it is no model of {own.count} layers of {own.dimensions} dimensions, pooled by {_mode(model[1])}")
    theirs.write_to(model[0].model)
    model[1].load_state_dict(began[1].state_dict())


def _mode(pooling: nn.Module) -> str:
    return "ata" if isinstance(pooling, AnchorTokenAwarePooling) else getattr(pooling, "pooling_mode", type(pooling).__name__)


def _check_disk(folder: Path, needed: int) -> None:
    held = sum(path.stat().st_blocks * 512 for path in folder.glob("wanted.bf16"))
    free = shutil.disk_usage(folder).free
    if free < needed - held:
        raise DiskFull(f"{folder} has {free / 1e9:.1f} GB free, and the states of these texts need {(needed - held) / 1e9:.1f} GB: make room or give fewer texts")


def _publish(model: SentenceTransformer, student: Student, arguments: argparse.Namespace, facts: dict[str, Any]) -> None:
    """Save the model with its card, and run.json; the states are no longer needed."""
    output: Path = arguments.output
    facts |= {"tokens": int(arguments.tokens), "gamma": student.gamma, "versions": {"trainer": __version__, "torch": torch.__version__},
              "settings": json.loads(json.dumps(vars(arguments), default=str))}
    save_model(student.trained(), output / "model")
    pooling = f"{arguments.pooling} pooling" if student.gamma is None else (
        f"ATA pooling (gamma {student.gamma:.3f}; `trust_remote_code=True` lets sentence-transformers run its module, which lies beside the weights)")
    (output / "model" / "README.md").write_text(f"""{card_head(arguments.license)}
# {output.name}

{len(arguments.keep)} of {student.whole.layers.count} layers of {arguments.encoder.name} ({', '.join(map(str, arguments.keep))}), which learned the hidden states of all of them from
{facts['tokens']:,} tokens of {facts['texts']:,} texts, under {pooling}. Settings and versions: run.json of the run.
""", encoding="utf-8")
    (output / "run.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    for name in ("wanted.bf16", "known.npy"):
        (output / name).unlink(missing_ok=True)
    emit("done", folder=str(output / "model"), steps=facts["steps"], gamma=student.gamma)
