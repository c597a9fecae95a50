"""Compute once what a distillation's teachers say of every text of a recipe's sources, into its `teacher_cache`.

    python -m trainer teach --recipe trainer/recipes/several-teachers-distillation.yaml

keeps the teachers' vectors, or where stages imitate several teachers, their hidden states token by token (trainer/imitated_states.py), of which vectors
are made; so runs over other seeds, lengths or losses ask the teachers for nothing. Stopped at any moment, the same command goes on. Without this command a run
fills the cache as it goes.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

from trainer.batch_gradients import length_sorted, micro_batch_features, token_counts
from trainer.data.store import RecordStore, open_stores
from trainer.distributed import Processes
from trainer.errors import InputError
from trainer.events import emit
from trainer.imitated_states import StatesCache, open_imitated
from trainer.interruption import Interrupted, StopSignal
from trainer.recipe import load_recipe
from trainer.teacher import TeacherCache, TextAndRole, open_teachers, texts_of
from trainer.teachers import as_one
from trainer.training_model import prepare

TEACH_TEXTS = 1024  # asked for and kept at a time; what a stop may cost


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", type=Path, required=True, metavar="FILE", help="YAML or JSON with teacher, teacher_cache and stages")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one value of the recipe")
    parser.add_argument("--records", type=int, default=0, metavar="N", help="of each source the first N alone (default all)")
    parser.add_argument("--share", type=_share, default=(0, 1), metavar="I/N", help="the I-th of N shares, from 1: N such commands at once fill one cache")


def run(arguments: argparse.Namespace) -> None:
    recipe = load_recipe(arguments.recipe, arguments.set)
    teachers = open_teachers(recipe)
    caches = [teacher for teacher in teachers if isinstance(teacher, TeacherCache)]
    if not caches:
        raise InputError("teach needs a recipe with teacher and teacher_cache")
    stores = list(open_stores(recipe).values())
    of_states = [bool(stage.imitation) and not recipe.keep_layers for stage in recipe.stages]
    filled: list[TeacherCache | StatesCache] = [] if all(of_states) else list(caches)
    with StopSignal() as stop:
        for cache in filled:
            fill(stores, cache, cache, stop, arguments.records, arguments.share)
        if any(of_states):
            model = prepare(recipe).to(Processes(recipe.device).device)
            filled.append(states := open_imitated(recipe, model, as_one(teachers, recipe, stores)))
            fill(stores, states, _states_into(states, model, recipe.micro_batch), stop, arguments.records, arguments.share)
    emit("done", folder=str(filled[0].folder if len(filled) == 1 else filled[0].folder.parent), texts=min(len(cache) for cache in filled))


def fill(stores: Sequence[RecordStore], cache: TeacherCache | StatesCache, ask: Callable[[list[TextAndRole]], object], stop: StopSignal,
         records_max: int = 0, share: tuple[int, int] = (0, 1)) -> None:
    """Ask for every text of the stores, block by block, so that they are in `cache`; of a `share` (i, n), for those of every n-th block from i on."""
    counts = [min(len(store), records_max or len(store)) for store in stores]
    done, began = 0, time.monotonic()
    for store, count in zip(stores, counts, strict=True):
        for start in range(share[0] * TEACH_TEXTS // 2, count, share[1] * TEACH_TEXTS // 2):
            if stop.asked:
                raise Interrupted(f"stopped with {len(cache)} texts; the same command goes on")
            records = range(start, min(start + TEACH_TEXTS // 2, count))
            ask(list(dict.fromkeys(texts_of(store, records))))
            done = done + len(records)
            emit("progress", stage="teach", step=done, of=sum(counts) // share[1], texts=len(cache),
                 etaSeconds=round(max(0.0, (time.monotonic() - began) / done * (sum(counts) / share[1] - done)), 1))


def _states_into(cache: StatesCache, model: SentenceTransformer, micro_batch: int) -> Callable[[list[TextAndRole]], None]:
    def ask(texts: list[TextAndRole]) -> None:
        plain = list(dict.fromkeys(text for text, _ in texts))
        for chunk in length_sorted(token_counts(model, plain), micro_batch, model.max_seq_length):
            features = micro_batch_features(model, [plain[row] for row in chunk])
            if not cache.has(features):
                with torch.no_grad():
                    cache.states(features)

    return ask


def _share(text: str) -> tuple[int, int]:
    """"2/3" -> (1, 3)"""
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} must read I/N with I from 1 to N")
    return int(number) - 1, int(count)
