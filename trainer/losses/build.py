"""From a recipe's loss entry to a loss: `{name: matryoshka, dimensions: [384, 128], inner: {name: ega, strength: 4}}`."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor

from trainer.errors import InputError
from trainer.losses.batch import EmbeddedBatch
from trainer.losses.cosent import CoSENT
from trainer.losses.distillation import SimilarityDistillation
from trainer.losses.ega import ExplicitGradientAmplification
from trainer.losses.false_negative_filter import FalseNegativeFilter
from trainer.losses.focal import FocalInfoNCE
from trainer.losses.hard_negative_mixing import HardNegativeMixing
from trainer.losses.info_nce import InfoNCE
from trainer.losses.margin_mse import MarginMSE
from trainer.losses.matryoshka import Matryoshka
from trainer.losses.order_aware import OrderAware
from trainer.losses.soft_labels import SoftLabels
from trainer.losses.two_dimensional import TwoDimensional
from trainer.losses.weighted_sum import WeightedSum
from trainer.recipe import number

Loss = Callable[[EmbeddedBatch], Tensor]

LOSSES: dict[str, type] = {
    "info_nce": InfoNCE,
    "ega": ExplicitGradientAmplification,
    "focal": FocalInfoNCE,
    "hard_negative_mixing": HardNegativeMixing,
    "false_negative_filter": FalseNegativeFilter,
    "soft_labels": SoftLabels,
    "margin_mse": MarginMSE,
    "distillation": SimilarityDistillation,
    "cosent": CoSENT,
    "order_aware": OrderAware,
    "matryoshka": Matryoshka,
    "two_dimensional": TwoDimensional,
    "sum": WeightedSum,
}


def build_loss(entry: Any, where: str = "loss") -> Loss:
    """The loss that `entry` describes; raises InputError that names the entry's place and what is wrong with it."""
    if not isinstance(entry, dict) or entry.get("name") not in LOSSES:
        raise InputError(f"{where}.name must be one of {', '.join(LOSSES)}, not {entry.get('name') if isinstance(entry, dict) else entry!r}")
    options = {key: value for key, value in entry.items() if key != "name"}
    if entry["name"] == "sum":
        return _sum(options, where)
    accepted = inspect.signature(LOSSES[entry["name"]]).parameters
    for key in options:
        if key not in accepted:
            raise InputError(f"{where}.{key} is not known; {entry['name']} takes {', '.join(sorted(accepted))}")
        if isinstance(accepted[key].default, float):
            options[key] = number(options[key], f"{where}.{key}")
    if "inner" in accepted:
        options["inner"] = build_loss(options.get("inner"), f"{where}.inner")
    for key in ("temperature", "teacher_temperature"):
        if key in options and not options[key] > 0:
            raise InputError(f"{where}.{key} must be greater than 0, not {options[key]}")
    try:
        return LOSSES[entry["name"]](**options)
    except TypeError as error:
        raise InputError(f"{where}: {error}") from error


def _sum(options: dict[str, Any], where: str) -> Loss:
    terms = options.get("terms")
    if set(options) != {"terms"} or not isinstance(terms, list) or not terms:
        raise InputError(f"{where} takes a list of terms, each a loss with its weight")
    built = []
    for i, term in enumerate(terms):
        place = f"{where}.terms[{i}]"
        if not isinstance(term, dict):
            raise InputError(f"{place} must be a loss with its weight, not {term!r}")
        inner = build_loss({key: value for key, value in term.items() if key != "weight"}, place)
        built.append((number(term.get("weight", 1.0), f"{place}.weight"), inner))
    return WeightedSum(built)
