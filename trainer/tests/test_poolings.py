"""One contract over every pooling: texts keep their vector in any company, models survive saving, gradients arrive."""

from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer

from trainer.errors import InputError
from trainer.model import POOLING_MODES, PoolingChoice, load_model, new_model, save_model
from trainer.tests.tiny import tiny_bert, tiny_mistral

TEXTS = ["the red cat runs .", "why does a bird sing near the green river ?", "dog"]


def choice(mode: str) -> PoolingChoice:
    return PoolingChoice(mode=mode, gamma=0.5, learn_gamma=True, latents=6, heads=4)


@pytest.mark.parametrize("base", [tiny_bert, tiny_mistral])
@pytest.mark.parametrize("mode", POOLING_MODES)
def test_a_saved_model_gives_a_text_its_vector_alone_and_in_company(mode: str, base, tmp_path: Path) -> None:
    model = new_model(base(tmp_path / "base"), choice(mode)).eval()
    with torch.no_grad():
        for parameter in model[1].parameters():
            parameter.add_(0.1)
    together = torch.tensor(model.encode(TEXTS))
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))
    save_model(model, tmp_path / "saved")
    for loaded in (load_model(tmp_path / "saved"), SentenceTransformer(str(tmp_path / "saved"), trust_remote_code=True)):
        alone = torch.cat([torch.tensor(loaded.encode([text])) for text in TEXTS])
        torch.testing.assert_close(alone, together, atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", ["latent-attention", "multi-layer"])
def test_a_trained_pooling_starts_at_mean_pooling_and_its_gradients_arrive(mode: str, tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path)
    model = new_model(folder, choice(mode))
    by_mean = new_model(folder, PoolingChoice(mode="mean"))
    torch.testing.assert_close(torch.tensor(model.encode(TEXTS)), torch.tensor(by_mean.encode(TEXTS)), atol=1e-6, rtol=0)
    optimizer = torch.optim.SGD(model[1].parameters(), lr=0.5)
    for _ in range(2):  # the first step moves the last matrix off zero, and only then do the others receive anything
        optimizer.zero_grad()
        (model(model.preprocess(TEXTS))["sentence_embedding"] * torch.linspace(-1, 1, 32)).sum().backward()
        optimizer.step()
    # A key or query bias cannot matter to a softmax, so only matrices and vectors that are used are asked.
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in model[1].parameters())


def test_texts_are_cut_where_the_base_has_no_more_positions(tmp_path: Path) -> None:
    model = new_model(tiny_bert(tmp_path), PoolingChoice(mode="mean"), max_tokens=1000)
    assert model.max_seq_length == 64 and model.encode(["the red cat " * 50]).shape == (1, 32)


def test_a_pooling_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(InputError, match="pooling.mode 'max' must be one of ata, mean, cls"):
        PoolingChoice(mode="max")


def test_a_folder_that_is_no_encoder_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["ViTModel"], "is_encoder_decoder": true}')
    with pytest.raises(InputError, match="is no text encoder or decoder: its architecture is \\['ViTModel'\\]"):
        new_model(tmp_path, PoolingChoice())
