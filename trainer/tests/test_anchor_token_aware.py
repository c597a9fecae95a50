"""ATA as a sentence-transformers module: its numbers and gradients against eager attention, and its saved form."""

from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoConfig, AutoModel

from trainer import pooling
from trainer.errors import InputError
from trainer.model import PoolingChoice, load_model, new_model, save_model
from trainer.poolings import anchor_token_aware
from trainer.poolings.anchor_token_aware import AnchorTokenAwarePooling, ReceivedAttention
from trainer.tests.tiny import tiny_bert, tiny_mistral, tiny_mpnet, tiny_qwen

TEXTS = ["the red cat runs .", "why does a bird sing near the green river ?", "dog", "one , two , three !"]
BASES = {"bert": tiny_bert, "mistral": tiny_mistral, "qwen": tiny_qwen}


def eager(model: SentenceTransformer, folder: Path, gamma: float) -> tuple[torch.Tensor, dict[str, torch.nn.Parameter]]:
    """ATA by the definition, over the whole materialized attention of the last layer -> vectors, weights of this copy of the base."""
    config = AutoConfig.from_pretrained(folder)
    config.is_causal = False
    base = AutoModel.from_pretrained(folder, config=config, attn_implementation="eager")
    features = model.preprocess(TEXTS)
    output = base(input_ids=features["input_ids"], attention_mask=features["attention_mask"], output_attentions=True)
    received = pooling.received_attention(output.attentions[-1], features["attention_mask"])
    vectors = pooling.anchor_token_aware(output.last_hidden_state, received, features["attention_mask"], gamma)
    return pooling.normalize(vectors), dict(base.named_parameters())


def embed(model: SentenceTransformer) -> torch.Tensor:
    return model(model.preprocess(TEXTS))["sentence_embedding"]


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("padding_side", ["right", "left"])
@pytest.mark.parametrize("plain_tokens", [0, 128])
def test_embeddings_and_weight_gradients_equal_those_of_eager_attention(
    name: str, padding_side: str, plain_tokens: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(anchor_token_aware, "PLAIN_TOKENS_MAX", plain_tokens)
    folder = BASES[name](tmp_path)
    model = new_model(folder, PoolingChoice(mode="ata", gamma=0.5))
    model.tokenizer.padding_side = padding_side
    vectors = embed(model.train())
    expected, theirs = eager(model, folder, 0.5)
    torch.testing.assert_close(vectors, expected, atol=2e-6, rtol=0)
    direction = torch.linspace(-1, 1, vectors.numel()).view_as(vectors)
    (vectors * direction).sum().backward()
    (expected * direction).sum().backward()
    for key, parameter in model[0].model.named_parameters():
        if theirs[key].grad is not None:
            torch.testing.assert_close(parameter.grad, theirs[key].grad, atol=2e-5, rtol=1e-4, msg=lambda text: f"{key}: {text}")


@pytest.mark.parametrize("block", [1, 40, 10**6])
def test_received_attention_has_the_gradient_of_its_values_in_blocks_of_any_size(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchor_token_aware, "BLOCK_SCORES_MAX", block)
    generator = torch.Generator().manual_seed(1)
    query, key = (torch.randn(2, 2, 5, 3, dtype=torch.float64, generator=generator, requires_grad=True) for _ in range(2))
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.float64)
    for allowed in (None, mask[:, None, None, :].bool(), torch.ones(5, 5, dtype=torch.bool).tril()[None, None]):
        assert torch.autograd.gradcheck(lambda q, k: ReceivedAttention.apply(q, k, allowed, mask, 0.5), (query, key))


def test_the_attention_a_text_receives_sums_to_its_tokens_times_its_heads(tmp_path: Path) -> None:
    model = new_model(tiny_bert(tmp_path), PoolingChoice(mode="ata"))
    features = model[0](model.preprocess(TEXTS))
    expected = features["attention_mask"].sum(dim=1) * 4.0
    torch.testing.assert_close(features["received_attention"].sum(dim=(1, 2)), expected)


def test_dropout_takes_away_from_a_text_s_attention_but_not_from_what_its_tokens_received() -> None:
    query, key, value = torch.randn(3, 64, 2, 8, 4, generator=torch.Generator().manual_seed(1))
    whole, received = anchor_token_aware.plain_attention(query, key, value, None, None)
    torch.manual_seed(2)
    dropped, still_received = anchor_token_aware.plain_attention(query, key, value, None, None, dropout=0.5)
    torch.testing.assert_close(still_received, received)
    assert not torch.allclose(dropped, whole)
    # What is kept is scaled up, so the mean over many texts stays.
    torch.testing.assert_close((dropped / 64).sum(), (whole / 64).sum(), atol=0.6, rtol=0)


def test_gamma_0_is_mean_pooling(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path)
    by_mean = new_model(folder, PoolingChoice(mode="mean"))
    torch.testing.assert_close(embed(new_model(folder, PoolingChoice(mode="ata", gamma=0.0))), embed(by_mean), atol=1e-6, rtol=0)


def test_pooling_by_hand() -> None:
    module = AnchorTokenAwarePooling(1, heads=2, gamma=1.0, head_weights=[1.5, 0.5])
    received = torch.tensor([[[2.0, 4.0, 9.0], [6.0, 4.0, 9.0]]])
    # r = 1.5 x 2 + 0.5 x 6 = 6 and 1.5 x 4 + 0.5 x 4 = 8; the third token is padding.
    weights = module.weights(received, torch.tensor([[1, 1, 0]]))
    torch.testing.assert_close(weights, torch.tensor([[6 / 14, 8 / 14, 0.0]]))


def test_learned_gamma_and_head_weights_have_the_gradient_of_their_values() -> None:
    module = AnchorTokenAwarePooling(1, heads=3, gamma=0.7, learn_gamma=True, learn_head_weights=True).double()
    received = torch.rand(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])

    def weights(gamma: torch.Tensor, heads: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(module, {"gamma_logit": gamma, "head_logits": heads}, (attention,), {"mask": mask})

    module.forward = lambda attention, mask: module.weights(attention, mask)
    assert torch.autograd.gradcheck(weights, (module.gamma_logit, module.head_logits, received))


def test_all_layers_give_a_head_weight_each(tmp_path: Path) -> None:
    model = new_model(tiny_bert(tmp_path), PoolingChoice(mode="ata", layers="all", learn_head_weights=True))
    assert model[1].heads == 12
    embed(model).sum().backward()
    assert model[1].head_logits.grad.abs().min() > 0


def test_gradient_checkpointing_changes_no_gradient(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path)
    gradients = []
    for checkpointing in (False, True):
        model = new_model(folder, PoolingChoice(mode="ata")).train()
        if checkpointing:
            model[0].model.activation_checkpointing_enable({"use_reentrant": False})
        (embed(model) * torch.linspace(-1, 1, 32)).sum().backward()
        gradients.append(model[0].model.encoder.layer[-1].attention.self.query.weight.grad)
    torch.testing.assert_close(gradients[1], gradients[0])


def test_a_saved_model_loads_here_and_with_sentence_transformers_alone(tmp_path: Path) -> None:
    model = new_model(tiny_bert(tmp_path / "base"), PoolingChoice(mode="ata", gamma=0.3, learn_gamma=True, learn_head_weights=True))
    with torch.no_grad():
        model[1].gamma_logit.add_(0.25)
        model[1].head_logits.copy_(torch.tensor([0.3, -0.2, 0.0, 0.5]))
    save_model(model, tmp_path / "saved")
    expected = model.encode(TEXTS)
    ours = load_model(tmp_path / "saved")
    assert ours[1].gamma == pytest.approx(model[1].gamma, abs=1e-9)
    torch.testing.assert_close(torch.tensor(ours.encode(TEXTS)), torch.tensor(expected), atol=1e-6, rtol=0)
    # trust_remote_code: sentence-transformers 6 wants to be asked before it runs the module file beside the weights.
    theirs = SentenceTransformer(str(tmp_path / "saved"), trust_remote_code=True)
    assert type(theirs[1]).__module__.startswith("transformers_modules.")
    torch.testing.assert_close(torch.tensor(theirs.encode(TEXTS)), torch.tensor(expected), atol=1e-6, rtol=0)


def test_a_base_whose_attention_cannot_be_reached_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="MPNetModel computes its attention by itself"):
        new_model(tiny_mpnet(tmp_path), PoolingChoice(mode="ata"))
