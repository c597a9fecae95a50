"""BERT's layers over packed texts, which lie one behind another without padding: forward and backward, a thread at a time.

Two ways that do the same: C++ for CPUs with AMX (native/bert_layers.cpp), and PyTorch, which says what that must equal. A training step of so small
an encoder in PyTorch on a CPU is spent on what lies between its matrix products: copies between float32 and bfloat16, padding, and passes over
activations that fit no cache.
"""

import ctypes
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from trainer.errors import InputError
from trainer.native.library import Unsupported, library

ROWS = 32  # packed texts take as many rows as a multiple of it has


class _Shape(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("layers", "dimensions", "inner", "heads")]


class BertLayers:
    """An encoder's layers: `weights`, all of them in one tensor of float32, in the order of `parts`."""

    def __init__(self, encoder: nn.Module) -> None:
        """`encoder` is transformers' BertModel, whose weights are copied; raises InputError where it is something else."""
        config = encoder.config
        if config.model_type != "bert" or config.hidden_act != "gelu" or config.layer_norm_eps != 1e-12:
            raise InputError(f"{config.name_or_path} is no BERT with gelu and layer norms of an epsilon of 1e-12: it has {config.model_type}'s layers")
        self.shape = _Shape(config.num_hidden_layers, config.hidden_size, config.intermediate_size, config.num_attention_heads)
        self.count, self.dimensions, self.heads = config.num_hidden_layers, config.hidden_size, config.num_attention_heads
        theirs = _parts(encoder)
        self._sizes = [part.shape for part in theirs]
        self.weights = torch.cat([part.detach().reshape(-1).float() for part in theirs])

    def parts(self, of: Tensor) -> list[Tensor]:
        """Every matrix and vector of `of`, which is laid out as the weights: PARTS a layer."""
        parts = of.split([size.numel() for size in self._sizes])
        return [part.view(size) for part, size in zip(parts, self._sizes, strict=True)]

    def write_to(self, encoder: nn.Module) -> None:
        """Give the weights to an encoder like that they came from."""
        with torch.no_grad():
            for to, own in zip(_parts(encoder), self.parts(self.weights), strict=True):
                to.copy_(own)


PARTS = 16


def _parts(encoder: nn.Module) -> list[nn.Parameter]:
    """In the order of bert_layers.cpp's Weights, where query, key and value are one."""
    parts = []
    for layer in encoder.encoder.layer:
        own, out, up, down = layer.attention.self, layer.attention.output, layer.intermediate, layer.output
        parts += [own.query.weight, own.key.weight, own.value.weight, own.query.bias, own.key.bias, own.value.bias,
                  out.dense.weight, out.dense.bias, out.LayerNorm.weight, out.LayerNorm.bias, up.dense.weight, up.dense.bias,
                  down.dense.weight, down.dense.bias, down.LayerNorm.weight, down.LayerNorm.bias]
    return parts


class Run(Protocol):
    """One thread's passes through layers."""

    def forward(self, embedded: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Of texts of `lengths` tokens, one behind another in `embedded` [tokens, dimensions]: the states [layers + 1, rows, dimensions] in bfloat16,
        what went in first, and what each token received in the last layer, [heads, rows]. Rows behind the last token are of no meaning."""
        ...

    def backward(self, state_gradients: Tensor, received_gradient: Tensor, gradients: Tensor) -> None:
        """After `forward`: adds to `gradients`, laid out as the weights, from those of the states [layers + 1, rows, dimensions] and of what was
        received [heads, rows], in float32 and zero behind the last token. Nothing is learned about what went in."""
        ...


class Packing:
    """The current weights, for the runs of any number of threads: of the native layers where they can be had, or of PyTorch's."""

    def __init__(self, layers: BertLayers, native: bool | None = None) -> None:
        """`native` True raises Unsupported where that cannot be, None takes what there is, and `missing` says what is not."""
        self.layers, self.packed, self.library, self.missing = layers, None, None, ""
        if native is False:
            return
        try:
            shape = layers.shape
            if shape.dimensions % (32 * shape.heads) or shape.inner % 32:
                raise Unsupported("the native layers need heads and inner dimensions in multiples of 32")
            self.library = library()
        except Unsupported as error:
            if native:
                raise
            self.missing = str(error)
            return
        size = self.library.bert_layer_packed(ctypes.c_long(layers.dimensions), ctypes.c_long(layers.shape.inner))
        self.packed = torch.zeros(layers.count * size, dtype=torch.bfloat16)
        self.take()

    def take(self) -> None:
        """Take up weights that have changed."""
        if self.library:
            self.library.bert_pack(ctypes.byref(self.layers.shape), _at(self.layers.weights), _at(self.packed))

    def run(self, tokens: int, longest: int, backward: bool) -> Run:
        """For up to `tokens` tokens at a time, of texts of up to `longest`."""
        return _NativeRun(self, tokens, longest, backward) if self.library else _TorchRun(self.layers, backward)


class _NativeRun:
    def __init__(self, packing: Packing, tokens: int, longest: int, backward: bool) -> None:
        self._packing, self._library, self._layers, self._rows = packing, packing.library, packing.layers, tokens + -tokens % ROWS
        self._arena = ctypes.c_void_p(self._library.bert_arena(ctypes.byref(self._layers.shape), ctypes.c_long(self._rows), ctypes.c_long(longest), int(backward)))

    def __del__(self) -> None:
        self._library.bert_free(self._arena)

    def forward(self, embedded: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
        count = len(embedded)
        rows = count + -count % ROWS
        if rows > self._rows:
            raise ValueError(f"{count} tokens at a time, where {self._rows} were announced")
        self._starts = torch.tensor([0, *lengths]).cumsum(0).int()
        self._states = torch.zeros(self._layers.count + 1, rows, self._layers.dimensions, dtype=torch.bfloat16)
        self._states[0, :count] = embedded
        received = torch.zeros(self._layers.heads, rows)
        self._call("bert_forward", _at(received))
        return self._states, received

    def backward(self, state_gradients: Tensor, received_gradient: Tensor, gradients: Tensor) -> None:
        self._call("bert_backward", _at(state_gradients), _at(received_gradient), _at(gradients))

    def _call(self, name: str, *more: ctypes.c_void_p) -> None:
        # ctypes lets go of Python's lock meanwhile: other threads' runs go on.
        getattr(self._library, name)(ctypes.byref(self._layers.shape), _at(self._layers.weights), _at(self._packing.packed), _at(self._states), _at(self._starts),
                                     ctypes.c_long(len(self._starts) - 1), ctypes.c_long(self._states.shape[1]), *more, self._arena)


class _TorchRun:
    def __init__(self, layers: BertLayers, backward: bool) -> None:
        self._layers, self._learns = layers, backward

    def forward(self, embedded: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
        layers, x = self._layers, embedded.float()
        self._weights = [part.detach().requires_grad_(self._learns) for part in layers.parts(layers.weights)]
        with torch.set_grad_enabled(self._learns):
            states = [x]
            for layer in range(layers.count):
                x, self._received = _layer(x, list(lengths), self._weights[PARTS * layer : PARTS * (layer + 1)], layers.heads)
                states.append(x)
            self._states = torch.stack(states)
        behind = (0, -len(embedded) % ROWS)
        return nn.functional.pad(self._states.detach().bfloat16(), (0, 0, *behind)), nn.functional.pad(self._received.detach(), behind)

    def backward(self, state_gradients: Tensor, received_gradient: Tensor, gradients: Tensor) -> None:
        count = self._states.shape[1]
        torch.autograd.backward([self._states, self._received], [state_gradients[:, :count], received_gradient[:, :count]])
        for to, weight in zip(self._layers.parts(gradients), self._weights, strict=True):
            to += weight.grad


def _layer(x: Tensor, lengths: list[int], weights: list[Tensor], heads: int) -> tuple[Tensor, Tensor]:
    """One layer over packed [tokens, dimensions], of texts of `lengths`; and what each token received, [heads, tokens]."""
    query, key, value, query_bias, key_bias, value_bias, out, out_bias, scale1, shift1, up, up_bias, down, down_bias, scale2, shift2 = weights
    tokens, dimensions = x.shape
    linear, norm = nn.functional.linear, nn.functional.layer_norm
    of_heads = (linear(x, *by).view(tokens, heads, -1).transpose(0, 1).split(lengths, dim=1) for by in ((query, query_bias), (key, key_bias), (value, value_bias)))
    contexts, received = [], []
    for queries, keys, values in zip(*of_heads, strict=True):
        probabilities = (queries @ keys.transpose(1, 2) * queries.shape[-1] ** -0.5).softmax(dim=-1)
        contexts.append(probabilities @ values)
        received.append(probabilities.sum(dim=1))
    context = torch.cat(contexts, dim=1).transpose(0, 1).reshape(tokens, dimensions)
    between = norm(x + linear(context, out, out_bias), (dimensions,), scale1, shift1, 1e-12)
    return norm(between + linear(nn.functional.gelu(linear(between, up, up_bias)), down, down_bias), (dimensions,), scale2, shift2, 1e-12), torch.cat(received, dim=1)


def _at(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())
