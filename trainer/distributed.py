"""Several processes of one run (`torchrun`), each with a share of every global batch's texts.

Every process reads the same global batch, embeds its own micro-batches, and receives the others' vectors; the loss is then
computed over the whole batch by each, as one process would. Gradients add up. So a run over n processes has the loss curve of
one process with the same recipe, and in-batch negatives are always the whole batch's.
"""

import os
from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor


class Processes:
    """This process among the run's; a run without torchrun has one."""

    def __init__(self, device: str) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        self.device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if cuda else "cpu")
        if self.count > 1:
            if cuda:
                torch.cuda.set_device(self.device)
            dist.init_process_group("nccl" if cuda else "gloo")

    @property
    def is_first(self) -> bool:
        """The one that reports and saves."""
        return self.rank == 0

    def share(self, costs: Sequence[int]) -> list[int]:
        """Numbers of the chunks that are this process's, of all with their costs: each, the dearest first, is done by whoever has least to do."""
        loads, mine = [0] * self.count, []
        for chunk in sorted(range(len(costs)), key=lambda chunk: -costs[chunk]):
            process = loads.index(min(loads))
            loads[process] += costs[chunk]
            if process == self.rank:
                mine.append(chunk)
        return sorted(mine)

    def add_up(self, tensor: Tensor) -> Tensor:
        """`tensor` summed over all processes, in place."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor

    def add_up_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Sum gradients over processes in one message a data type; a process without a gradient of a weight adds zero."""
        if self.count == 1:
            return
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            by_type.setdefault(parameter.grad.dtype, []).append(parameter.grad)
        for gradients in by_type.values():
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            dist.all_reduce(flat)
            for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
                gradient.copy_(part.view_as(gradient))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return bool(self.add_up(torch.tensor(float(flag), device=self.device)))

    def wait(self) -> None:
        if self.count > 1:
            dist.barrier()

    def leave(self) -> None:
        if self.count > 1:
            dist.destroy_process_group()
