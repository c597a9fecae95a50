"""A recipe: everything that decides a training run, as one YAML or JSON file whose every key has a default or is asked for.

Flags change single values of it (`--set optimizer.learning_rate=3e-5`). The resolved recipe, defaults included, is saved
with what it makes. A key that is not known is refused by its place.
"""

import dataclasses
import json
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from trainer.errors import InputError
from trainer.imitation import Imitation
from trainer.model import PoolingChoice


@dataclass(frozen=True)
class Source:
    """One file of training records."""

    path: str
    weight: float = 1.0  # relative share of steps
    query_prompt: str = ""
    document_prompt: str = ""
    in_batch: bool = True  # False for STS and classification records, whose other texts are no negatives
    together: int = 1  # so many consecutive records of the file stay in one batch, whose negatives are then as near as the file has them
    loss: dict[str, Any] | None = None  # instead of the stage's


@dataclass(frozen=True)
class StageRecipe:
    """A stretch of the run. NV-Embed's two stages: retrieval with in-batch negatives, then a blend of tasks without them."""

    sources: list[Source]
    steps: int
    batch: int = 32  # records a step, over all processes: what in-batch negatives are drawn from
    order: str = "all"  # see trainer/data/curriculum.py
    loss: dict[str, Any] = field(default_factory=lambda: {"name": "info_nce", "temperature": 0.05})
    imitation: Imitation | None = None  # beside the loss: follow hidden states (trainer/imitation.py), the whole base's under keep_layers, or several teachers'


@dataclass(frozen=True)
class Optimizer:
    """AdamW."""

    learning_rate: float = 2e-5
    pooling_learning_rate: float = 1e-2  # gamma and head weights are a few numbers that have a way to go
    weight_decay: float = 0.01
    warmup: float = 0.1  # share of the steps
    schedule: str = "linear"  # linear | cosine | constant, after the warmup
    clip: float = 1.0  # norm of the gradient


@dataclass(frozen=True)
class TeacherShare:
    """One of several teachers, whose similarities are averaged (trainer/teachers.py)."""

    folder: str  # as `teacher`
    weight: float = 1.0  # relative, over cosines that are centred and scaled alike
    own_prompts: bool = True
    query_prompt: str = ""
    document_prompt: str = ""


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters (arXiv 2106.09685) instead of training the base; merged into it at the end."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: list[str] = field(default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])


@dataclass(frozen=True)
class Evaluation:
    """Judged while training, for curves and early stopping. Never the sets that judge the result."""

    sets: list[str] = field(default_factory=list)  # folders or files as `trainer evaluate` takes them
    every: int = 0  # steps; 0: never
    patience: int = 0  # evaluations without a better mean before the run stops; 0: never
    queries_max: int = 500
    documents_max: int = 2000  # judged documents always stay


@dataclass(frozen=True)
class Recipe:
    base: str
    output: str
    stages: list[StageRecipe]
    seed: int = 1
    keep_layers: list[int] = field(default_factory=list)  # of the base's, from 0; empty: all. A smaller model that imitation mends
    pooling: PoolingChoice = field(default_factory=PoolingChoice)
    max_tokens: int = 256
    micro_batch: int = 64  # texts of max_tokens that go through the model at once; of shorter ones as many more
    cached: bool = False  # GradCache: activations of one micro-batch at a time, at the price of a second forward pass
    accumulate: int = 1  # batches a step, each with its own negatives
    precision: str = "float32"  # float32 | bf16: autocast over float32 weights
    dropout: float | None = None  # of the base's hidden states and attention; default: what its config says
    base_precision: str = "float32"  # float32 | bf16: the frozen weights under LoRA
    gradient_checkpointing: bool = False
    device: str = "auto"  # auto | cpu | cuda
    lora: Lora | None = None
    exit_layers: list[int] = field(default_factory=list)  # for the two_dimensional loss
    teacher: str = ""  # folder of a sentence-transformers model or a model version, for distillation and the filter
    teachers: list[TeacherShare] = field(default_factory=list)  # instead of `teacher`: several, as one
    teacher_cache: str = ""  # folder that keeps the teachers' vectors; `trainer teach` fills it beforehand
    teacher_own_prompts: bool = True  # where the recipe gives none; False: the same vector for a text in either role
    teacher_query_prompt: str = ""
    teacher_document_prompt: str = ""
    optimizer: Optimizer = field(default_factory=Optimizer)
    evaluation: Evaluation = field(default_factory=Evaluation)
    checkpoint_every: int = 200
    checkpoints_kept: int = 2
    bad_lines_share_max: float = 0.01
    prompts: dict[str, str] = field(default_factory=dict)  # kept with the model: query, document, named tasks
    license: str = ""  # of the result, for its card
    notes: str = ""

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    @property
    def imitates(self) -> bool:
        return any(stage.imitation for stage in self.stages)


def load_recipe(path: Path, changes: list[str]) -> Recipe:
    """Read `path` (.yaml, .yml or .json) and apply `changes`, each `dotted.key=value` with a YAML value."""
    if not path.is_file():
        raise InputError(f"there is no recipe at {path}")
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))  # YAML reads JSON, too
    except yaml.YAMLError as error:
        raise InputError(f"{path} is no valid YAML or JSON: {str(error).splitlines()[0]}") from error
    if not isinstance(fields, dict):
        raise InputError(f"{path} must hold a mapping of recipe keys")
    for change in changes:
        _apply(fields, change)
    recipe = from_fields(Recipe, fields, "")
    _check(recipe)
    return recipe


def resolved(recipe: Any) -> dict[str, Any]:
    return dataclasses.asdict(recipe)


def from_fields(kind: type, fields: Any, where: str) -> Any:
    """Build the dataclass `kind` from a mapping, nested ones alike; errors name the key's place."""
    if not isinstance(fields, dict):
        raise InputError(f"{where or 'the recipe'} must be a mapping")
    hints = typing.get_type_hints(kind)
    known = {item.name: item for item in dataclasses.fields(kind)}
    for key in fields:
        if key not in known:
            raise InputError(f"{_join(where, key)} is not a recipe key; there are {', '.join(known)}")
    missing = [name for name, item in known.items() if name not in fields and item.default is dataclasses.MISSING
               and item.default_factory is dataclasses.MISSING]
    if missing:
        raise InputError(f"{_join(where, missing[0])} is missing")
    return kind(**{key: _value(hints[key], value, _join(where, key)) for key, value in fields.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, types.UnionType):
        return None if value is None else _value(next(part for part in typing.get_args(hint) if part is not types.NoneType), value, where)
    if dataclasses.is_dataclass(hint):
        return from_fields(hint, value, where)
    if typing.get_origin(hint) is list:
        if not isinstance(value, list):
            raise InputError(f"{where} must be a list")
        return [_value(typing.get_args(hint)[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
    plain = typing.get_origin(hint) or hint
    if plain is float and isinstance(value, int | str) and not isinstance(value, bool):
        value = number(value, where)
    if not isinstance(value, plain) or (plain is int and isinstance(value, bool)):
        raise InputError(f"{where} must be of type {plain.__name__}, not {value!r}")
    return value


def number(value: Any, where: str) -> float:
    """`value` of the key `where` as a number; YAML reads 3e-5 as a string."""
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} must be a number, not {value!r}") from error


def _apply(fields: dict[str, Any], change: str) -> None:
    key, separator, text = change.partition("=")
    if not separator:
        raise InputError(f"--set {change!r} must read key=value")
    *parents, last = key.split(".")
    place: Any = fields
    try:
        for parent in parents:
            place = place[int(parent)] if isinstance(place, list) else place.setdefault(parent, {})
        place[int(last) if isinstance(place, list) else last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"--set {change!r}: {text!r} is no YAML value; put quotes around a text") from error
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise InputError(f"--set {change!r}: there is no {key} to set") from error


def _check(recipe: Recipe) -> None:
    """Bounds that a type cannot say."""
    positive = {"max_tokens": recipe.max_tokens, "micro_batch": recipe.micro_batch, "accumulate": recipe.accumulate,
                "checkpoint_every": recipe.checkpoint_every, "checkpoints_kept": recipe.checkpoints_kept}
    for i, stage in enumerate(recipe.stages):
        positive |= {f"stages[{i}].steps": stage.steps, f"stages[{i}].batch": stage.batch, f"stages[{i}].sources": len(stage.sources),
                     **{f"stages[{i}].sources[{j}].together": source.together for j, source in enumerate(stage.sources)}}
    for name, value in {**positive, "stages": len(recipe.stages)}.items():
        if value < 1:
            raise InputError(f"{name} must be at least 1")
    choices = {"precision": (recipe.precision, ("float32", "bf16")), "base_precision": (recipe.base_precision, ("float32", "bf16")),
               "device": (recipe.device, ("auto", "cpu", "cuda")),
               "optimizer.schedule": (recipe.optimizer.schedule, ("linear", "cosine", "constant"))}
    for name, (value, allowed) in choices.items():
        if value not in allowed:
            raise InputError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
    if recipe.seed < 0:
        raise InputError(f"seed must be 0 or more, not {recipe.seed}")
    if recipe.dropout is not None and not 0 <= recipe.dropout < 1:
        raise InputError(f"dropout must be at least 0 and less than 1, not {recipe.dropout}")
    if recipe.evaluation.patience and not (recipe.evaluation.every and recipe.evaluation.sets):
        raise InputError("evaluation.patience needs evaluation.every and evaluation.sets")


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else str(key)
