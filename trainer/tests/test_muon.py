"""Muon in float32 against PyTorch's own."""

import torch
from torch import nn

from trainer.muon import Float32Muon


def test_steps_are_those_of_pytorch_but_for_rounding() -> None:
    torch.manual_seed(1)
    start = [torch.randn(48, 16), torch.randn(16, 16), torch.randn(16, 48)]
    gradients = [[torch.randn_like(one) for one in start] for _ in range(4)]
    ends = []
    for kind in (torch.optim.Muon, Float32Muon):
        weights = [nn.Parameter(one.clone()) for one in start]
        optimizer = kind(weights, lr=0.02, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
        for step in gradients:
            for weight, gradient in zip(weights, step, strict=True):
                weight.grad = gradient.clone()
            optimizer.step()
        ends.append((weights, optimizer.state_dict()["state"]))
    for theirs, own, began in zip(*([one.detach() for one in weights] for weights, _ in ends), start, strict=True):
        assert float((theirs - own).norm() / (theirs - began).norm()) < 0.02
    assert all(torch.equal(ends[0][1][key]["momentum_buffer"], ends[1][1][key]["momentum_buffer"]) for key in ends[0][1])
