"""What is said of bfloat16 where a processor has none."""

import pytest
import torch

from trainer.precision import warn_of_slow_bf16


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("there", [True, False])
def test_a_warning_comes_where_bfloat16_is_emulated(asked: bool, device: str, there: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: there)
    warn_of_slow_bf16(asked, torch.device(device))
    assert ("float32" in capsys.readouterr().out) == (asked and device == "cpu" and not there)
