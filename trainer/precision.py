"""What a CPU makes of bfloat16."""

import torch

from trainer.events import emit


def warn_of_slow_bf16(bf16: bool, device: torch.device) -> None:
    """Say so where what was asked for takes longer, not shorter: without AVX-512 or the like, bfloat16 is emulated (a product of matrices took 50 times float32's time on AVX2)."""
    if bf16 and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        emit("warning", message="this processor has no arithmetic of bfloat16 and emulates it, tens of times slower than float32: leave the precision at float32")
