"""Soup and delta-guided fusion: by hand, and on saved models."""

from pathlib import Path

import pytest
import torch

from trainer.cli import main
from trainer.errors import InputError
from trainer.fusion import delta_guided, soup
from trainer.model import PoolingChoice, load_model, new_model, save_model
from trainer.tests.tiny import tiny_bert


def weights(*values: float) -> dict[str, torch.Tensor]:
    return {"w": torch.tensor(values), "ids": torch.tensor([7])}


def test_a_soup_is_the_weighted_mean() -> None:
    fused = soup([weights(1.0, 5.0), weights(3.0, 1.0)], [3, 1])
    assert fused["w"].tolist() == [1.5, 4.0] and fused["ids"].tolist() == [7]


def test_delta_guided_listens_to_who_changed_most() -> None:
    base, small, large = weights(1.0, 1.0), weights(1.0, 2.0), weights(4.0, 1.0)  # changes of norm 1 and 3
    fused = delta_guided([small, large], base, [1, 1])
    assert fused["w"].tolist() == pytest.approx([1 + 3 / 4 * 3, 1 + 1 / 4 * 1])
    assert delta_guided([small, large], base, [1, 1], power=0)["w"].tolist() == pytest.approx(soup([small, large], [1, 1])["w"].tolist())
    assert delta_guided([base, base], base, [1, 1])["w"].tolist() == [1.0, 1.0]


def test_saved_models_fuse_with_their_learned_gamma(tmp_path: Path) -> None:
    for name, shift in (("base", 0.0), ("one", 0.5), ("two", -0.25)):
        model = new_model(tiny_bert(tmp_path / f"{name}-bert"), PoolingChoice(mode="ata", gamma=0.5, learn_gamma=True))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(shift)
        save_model(model, tmp_path / name)
    options = ["--model", str(tmp_path / "one"), "--model", str(tmp_path / "two")]
    assert main(["fuse", *options, "--output", str(tmp_path / "soup")]) == 0
    assert main(["fuse", *options, "--method", "delta-guided", "--base", str(tmp_path / "base"), "--output", str(tmp_path / "guided")]) == 0
    logits = {name: float(load_model(tmp_path / name)[1].gamma_logit.detach()) for name in ("base", "one", "two", "soup", "guided")}
    assert logits["soup"] == pytest.approx((logits["one"] + logits["two"]) / 2)
    assert logits["guided"] == pytest.approx(logits["base"] + 2 / 3 * 0.5 - 1 / 3 * 0.25)


def test_what_cannot_be_fused_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for name, mode in (("one", "ata"), ("two", "mean")):
        save_model(new_model(tiny_bert(tmp_path / f"{name}-bert"), PoolingChoice(mode=mode)), tmp_path / name)
    options = ["--model", str(tmp_path / "one"), "--model", str(tmp_path / "two"), "--output", str(tmp_path / "out")]
    assert main(["fuse", *options]) == InputError.exit_code
    assert "cannot be fused: they differ in 1.gamma_logit" in capsys.readouterr().err
    assert main(["fuse", *options[:2], "--output", str(tmp_path / "out")]) == InputError.exit_code
    assert main(["fuse", *options, "--method", "delta-guided"]) == InputError.exit_code
    capsys.readouterr()
    alike = [*options[:2], *options[:2], *options[4:]]
    assert main(["fuse", *alike, "--method", "delta-guided", "--base", str(tmp_path / "two")]) == InputError.exit_code
    assert "two and" in capsys.readouterr().err
