"""Checkpoints: everything a run needs to go on to the same loss, written whole or not at all.

    <output>/checkpoints/step-000200/
        weights.safetensors   the trained weights by name (under LoRA the adapters and the pooling alone)
        optimizer.pt          AdamW's moments
        state.json            step, curriculum state, best evaluation; written last

1. everything goes into a hidden folder beside; 2. one rename makes it visible; 3. older ones beyond the number kept go, but
never the best. Randomness needs no state: each step seeds itself from the recipe's seed and its number.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from trainer.errors import InputError, TrainerError


class DiskFull(TrainerError):
    """There is too little room for the next checkpoint."""

    exit_code = 6


def trained_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def check_disk(folder: Path, model: nn.Module) -> None:
    """Raise DiskFull where the next checkpoint (weights, two moments, and the model saved at the end) would not fit."""
    trained = sum(weight.numel() * weight.element_size() for weight in trained_weights(model).values())
    whole = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    needed = 3 * trained + whole
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskFull(f"{folder} has {free / 1e9:.1f} GB free and a checkpoint with the model beside it needs {needed / 1e9:.1f} GB: "
                       "make room or lower checkpoints_kept")


def save_checkpoint(folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any], kept: int) -> Path:
    """Write the checkpoint of `step` (the number of steps done) under `folder`; the one named state['best_step'] is always kept."""
    final = of_step(folder, step)
    staging = folder / f".step-{step:06d}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    save_file({name: weight.detach().contiguous() for name, weight in trained_weights(model).items()}, staging / "weights.safetensors")
    torch.save(optimizer.state_dict(), staging / "optimizer.pt")
    (staging / "state.json").write_text(json.dumps({**state, "step": step}, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(final, ignore_errors=True)
    staging.rename(final)
    for old in checkpoints(folder)[:-kept]:
        if old != of_step(folder, state.get("best_step") or 0):
            shutil.rmtree(old)
    return final


def of_step(folder: Path, step: int) -> Path:
    return folder / f"step-{step:06d}"


def checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").is_file())


def load_checkpoint(checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None) -> dict[str, Any]:
    """Bring `model` and `optimizer` to `checkpoint`; returns its state. The optimizer's settings stay its own, its moments are the checkpoint's."""
    weights = load_file(checkpoint / "weights.safetensors")
    ours = trained_weights(model)
    if set(weights) != set(ours):
        raise InputError(f"{checkpoint} holds other weights than this recipe trains: "
                         f"{', '.join(sorted(set(weights) ^ set(ours))[:3])}; choose another output folder")
    with torch.no_grad():
        for name, weight in ours.items():
            weight.copy_(weights[name])
    if optimizer is not None:
        load_moments(optimizer, torch.load(checkpoint / "optimizer.pt", map_location="cpu", weights_only=True))
    return json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))


def load_moments(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Give an optimizer the moments of a state_dict; its settings stay its own."""
    settings = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)
