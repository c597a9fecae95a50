"""Make one model of several checkpoints of the same base: a soup, or a fusion guided by what each of them changed.

| method | a weight of the result |
|---|---|
| soup | sum_i share_i x theta_i (model soups, arXiv 2203.05482, as KaLM-V2 uses them) |
| delta-guided | base + sum_i a_i x (theta_i - base), the a_i chosen for each tensor by the norms of the changes (CoDiEmb, arXiv 2508.11442) |

For delta-guided fusion, a_i = share_i n_i^p / sum_k share_k n_k^p with n_i the norm of model i's change of that tensor: the model
that had most to learn there has most to say. p = 1; p = 0 is the soup. CoDiEmb weighs by each parameter's deviation from its
initialization; weighing by tensor is our reading. Learned gammas and head weights are fused like every weight.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from trainer.errors import InputError
from trainer.events import emit
from trainer.model import load_model, save_model

METHODS = ("soup", "delta-guided")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, action="append", required=True, metavar="FOLDER", help="a trained model; repeat, at least two")
    parser.add_argument("--share", type=float, action="append", metavar="X", help="a model's share, in order (default equal)")
    parser.add_argument("--method", choices=METHODS, default="soup")
    parser.add_argument("--base", type=Path, metavar="FOLDER", help="what all were trained from, under the same pooling; for delta-guided")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")


def run(arguments: argparse.Namespace) -> None:
    shares = arguments.share or [1.0] * len(arguments.model)
    if len(arguments.model) < 2 or len(shares) != len(arguments.model) or min(shares) < 0 or not sum(shares) > 0:
        raise InputError("name at least two --model, and a --share of 0 or more for each or for none")
    if arguments.method == "delta-guided" and not arguments.base:
        raise InputError("delta-guided fusion needs --base, which the models were trained from")
    if arguments.output.exists():
        raise InputError(f"{arguments.output} exists already: choose another --output")
    model = load_model(arguments.model[0])
    folders = [*arguments.model, arguments.base] if arguments.method == "delta-guided" else arguments.model
    weights = [load_model(folder).state_dict() for folder in folders]
    _check_alike(folders, weights)
    fused = soup(weights, shares) if arguments.method == "soup" else delta_guided(weights[:-1], weights[-1], shares)
    model.load_state_dict(fused)
    save_model(model, arguments.output)
    if (arguments.model[0] / "README.md").is_file():
        shutil.copyfile(arguments.model[0] / "README.md", arguments.output / "README.md")
    emit("done", folder=str(arguments.output), method=arguments.method)


def soup(models: Sequence[dict[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    """The mean of the models' weights under `shares`; tensors that are no floating-point numbers come from the first."""
    return {name: _mean([model[name] for model in models], shares) for name in models[0]}


def delta_guided(models: Sequence[dict[str, Tensor]], base: dict[str, Tensor], shares: Sequence[float], power: float = 1.0) -> dict[str, Tensor]:
    """`base` with each tensor moved by the models' changes, weighed by their norms; a tensor that none changed stays."""
    fused = {}
    for name, start in base.items():
        changes = [model[name].double() - start.double() for model in models] if start.is_floating_point() else []
        weights = [share * float(change.norm()) ** power for share, change in zip(shares, changes, strict=False)]
        fused[name] = start if not sum(weights) else (start.double() + sum(
            weight / sum(weights) * change for weight, change in zip(weights, changes, strict=True))).to(start.dtype)
    return fused


def _mean(tensors: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    if not tensors[0].is_floating_point():
        return tensors[0]
    total = sum(share * tensor.double() for share, tensor in zip(shares, tensors, strict=True))
    return (total / sum(shares)).to(tensors[0].dtype)


def _check_alike(folders: Sequence[Path], weights: Sequence[dict[str, Tensor]]) -> None:
    shapes = [{name: tensor.shape for name, tensor in model.items()} for model in weights]
    for folder, own in zip(folders[1:], shapes[1:], strict=True):
        if own != shapes[0]:
            differing = sorted(name for name in own.keys() | shapes[0].keys() if own.get(name) != shapes[0].get(name))
            raise InputError(f"{folder} and {folders[0]} cannot be fused: they differ in {', '.join(differing[:3])}")
