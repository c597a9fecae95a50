"""Packed layers: PyTorch's against transformers' own, and the native ones against PyTorch's."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from trainer.bert_layers import PARTS, ROWS, BertLayers, Packing
from trainer.errors import InputError
from trainer.native.library import Unsupported, library
from trainer.tests.tiny import tiny_bert, tiny_mpnet

# Initial weights of 0.3 make attention so sharp that bfloat16's rounding decides it.
WIDE = {"hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 96, "max_position_embeddings": 300}


def an_encoder(folder: Path, scale: float) -> torch.nn.Module:
    encoder = AutoModel.from_pretrained(tiny_bert(folder, **WIDE), attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(scale if parameter.dim() > 1 else 1)
        for layer in encoder.encoder.layer:
            for norm in (layer.attention.output.LayerNorm, layer.output.LayerNorm):
                norm.weight.copy_(torch.linspace(0.5, 1.5, 64))
                norm.bias.copy_(torch.linspace(-0.2, 0.2, 64))
            layer.intermediate.dense.bias.copy_(torch.linspace(-1, 1, 96))
    return encoder


def passes(packing: Packing, embedded: torch.Tensor, lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """States, what was received, and the weights' gradients, of gradients that are drawn."""
    layers, count = packing.layers, len(embedded)
    run = packing.run(count, max(lengths), backward=True)
    states, received = run.forward(embedded, lengths)
    generator = torch.Generator().manual_seed(3)
    state_gradients, received_gradient = torch.zeros(states.shape), torch.zeros(received.shape)
    state_gradients[1:, :count] = torch.randn(layers.count, count, layers.dimensions, generator=generator)
    received_gradient[:, :count] = torch.randn(layers.heads, count, generator=generator)
    gradients = torch.zeros_like(layers.weights)
    run.backward(state_gradients, received_gradient, gradients)
    return states[:, :count], received[:, :count], gradients


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.detach().float() - other.detach().float()).norm() / other.detach().float().norm())


def test_pytorchs_layers_are_berts(tmp_path: Path) -> None:
    encoder = an_encoder(tmp_path / "bert", 1.0)
    layers = BertLayers(encoder)
    ids = torch.randint(4, 40, (2, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    theirs = encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True, output_attentions=True)
    embedded = theirs.hidden_states[0][mask.bool()].detach()
    states, received, gradients = passes(Packing(layers, native=False), embedded, [7, 4])
    own = torch.stack([state[mask.bool()] for state in theirs.hidden_states])
    assert apart(states, own) < 0.004
    taken = (theirs.attentions[-1] * mask[:, None, :, None]).sum(dim=2).transpose(0, 1)[:, mask.bool()]
    assert torch.allclose(received, taken, atol=1e-5)

    generator = torch.Generator().manual_seed(3)
    wanted = (own[1:] * torch.randn(own[1:].shape, generator=generator)).sum() + (taken * torch.randn(taken.shape, generator=generator)).sum()
    wanted.backward()
    query = encoder.encoder.layer[1].attention.self.query.weight.grad
    assert torch.allclose(layers.parts(gradients)[PARTS], query, atol=1e-3 * float(query.abs().max()))
    down = encoder.encoder.layer[0].output.dense.weight.grad
    assert torch.allclose(layers.parts(gradients)[12], down, atol=1e-3 * float(down.abs().max()))


def test_weights_go_back_to_where_they_came_from(tmp_path: Path) -> None:
    encoder = an_encoder(tmp_path / "bert", 1.0)
    layers = BertLayers(encoder)
    before = {name: parameter.clone() for name, parameter in encoder.encoder.named_parameters()}
    layers.weights *= 2
    layers.write_to(encoder)
    assert all(torch.equal(parameter, 2 * before[name]) for name, parameter in encoder.encoder.named_parameters())


def test_other_encoders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no BERT with gelu"):
        BertLayers(AutoModel.from_pretrained(tiny_mpnet(tmp_path / "mpnet")))


@pytest.fixture
def native() -> None:
    try:
        library()
    except Unsupported as error:
        pytest.skip(str(error))


# One token; a block and one more; texts whose rows and keys end anywhere in a tile.
@pytest.mark.parametrize("lengths", [[1], [33], [3, 17, 1, 40, 32, 255, 16], [5] * 30])
@pytest.mark.usefixtures("native")
def test_native_layers_are_pytorchs(tmp_path: Path, lengths: list[int]) -> None:
    layers = BertLayers(an_encoder(tmp_path / "bert", 0.3))
    embedded = torch.randn(sum(lengths), 64, generator=torch.Generator().manual_seed(2)).bfloat16()
    wanted, found = (passes(Packing(layers, native=native), embedded, lengths) for native in (False, True))
    for name, own, theirs in zip(("states", "received", "gradients"), found, wanted, strict=True):
        assert apart(own, theirs) < 0.02, name
    for number, (own, theirs) in enumerate(zip(layers.parts(found[2]), layers.parts(wanted[2]), strict=True)):
        assert apart(own, theirs) < 0.05 or theirs.norm() < 1e-3 * wanted[2].norm(), f"part {number}"


@pytest.mark.usefixtures("native")
def test_native_runs_follow_changed_weights_and_leave_nothing_behind(tmp_path: Path) -> None:
    layers = BertLayers(an_encoder(tmp_path / "bert", 0.3))
    packing = Packing(layers, native=True)
    run = packing.run(2 * ROWS, 40, backward=False)
    long, short = torch.randn(60, 64).bfloat16(), torch.randn(9, 64).bfloat16()
    alone, _ = run.forward(short, [9])
    run.forward(long, [40, 20])
    assert torch.equal(run.forward(short, [9])[0][:, :9], alone[:, :9])
    layers.weights *= 1.5
    packing.take()
    assert apart(run.forward(short, [9])[0][-1, :9], Packing(layers, native=False).run(9, 9, backward=False).forward(short, [9])[0][-1, :9]) < 0.02
    with pytest.raises(ValueError, match="were announced"):
        run.forward(torch.randn(65, 64), [33, 32])
