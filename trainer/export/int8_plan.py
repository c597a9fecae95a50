"""Static int8 for a BERT encoder: which scale each tensor gets, and the weights that go with it.

A scale that is fixed when the model is exported makes a text's vector independent of its batch, and spares the pass over
the activations that finds their range. The price is that one scale has to fit every channel of a tensor and every text.
Three rewritings, each exact before rounding, make that fit:

- Equalization (SmoothQuant, arXiv 2211.10438): channels are divided by their range and the weights behind them multiplied.
  Before attention_output it is free, folded into the value's weights; after a LayerNorm it is one multiplication.
- Saturation splitting, after GELU, whose few outlier neurons reach 20 where the others stay below 4: the scale ends at
  `top`, and a neuron that goes beyond is computed again with its threshold raised by `top`, so that the two saturated parts
  add up to it. GELU is the identity up there. Gain > 1 sharpens the copy, so that its own knee weighs less.
- Weights are rounded by GPTQ against the rounded inputs.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import erf

from trainer.export.bert_weights import BertWeights, Linear
from trainer.export.calibration import Activations
from trainer.export.int8_rounding import Scale, round_weight, round_weight_for, scale_for

STRENGTHS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
TOPS = np.arange(2.5, 8.0, 0.25)
# Copies of outlier neurons a layer; a multiple of 16 keeps the multiplication's columns whole.
COPIES = 32
# Headroom over the largest value seen, for texts that calibration has not seen.
HEADROOM = 1.05
GAIN_MAX = 8.0
GELU_MIN = -0.17
SEARCH_SAMPLES = 1200
ROUNDING_SAMPLES = 6000


@dataclass(frozen=True)
class Quantized:
    """One linear layer in int8: codes [inputs, outputs], steps and bias [outputs]."""

    codes: np.ndarray
    steps: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Equalized:
    """A tensor's scale after its channels were multiplied by `factors` [channels]."""

    factors: np.ndarray
    scale: Scale


@dataclass(frozen=True)
class Copies:
    """Outlier neurons computed again: copy i is gain_i * (neuron sources_i - threshold_i), and weighs 1 / gain_i."""

    sources: np.ndarray
    thresholds: np.ndarray
    gains: np.ndarray


@dataclass(frozen=True)
class BlockPlan:
    """One layer: its scales by the site where values are rounded, and its linear layers by name."""

    hidden: Equalized
    context: Scale
    attended: Equalized
    widened: Scale
    linears: dict[str, Quantized]


def plan_block(weights: BertWeights, layer: int, seen: Activations) -> BlockPlan:
    """Choose the scales of one layer and round its weights."""
    linears = weights.blocks[layer].linears
    real = {site: values for (i, site), values in seen.real.items() if i == layer}
    odd = {site: values for (i, site), values in seen.odd.items() if i == layer}
    inputs = Linear(np.concatenate([linears[name].weight for name in ("query", "key", "value")], axis=1), np.zeros(0))
    hidden = equalize(inputs, real["hidden"], odd["hidden"])
    # A head that looks at one token alone hands that token's value on: contexts reach as far as the values do.
    values = real["hidden"] @ linears["value"].weight + linears["value"].bias
    context = equalize(linears["attention_output"], real["context"], np.concatenate([odd["context"], values]))
    attended = equalize(linears["intermediate"], real["attended"], odd["attended"])
    widened, copies = split_outliers(linears["intermediate"], linears["output"], real["attended"], odd["attended"])
    intermediate, output = with_copies(linears["intermediate"], linears["output"], copies)
    shared = Linear(linears["value"].weight * context.factors, linears["value"].bias * context.factors)

    sample = _sample(len(real["hidden"]), ROUNDING_SAMPLES)
    rounded = {site: equalized.scale.round(real[site][sample] * equalized.factors)
               for site, equalized in (("hidden", hidden), ("context", context), ("attended", attended))}
    after_gelu = widened.round(gelu(real["attended"][sample] @ intermediate.weight + intermediate.bias))
    behind = {
        "query": (_unscaled(linears["query"], hidden), rounded["hidden"], real["hidden"]),
        "key": (_unscaled(linears["key"], hidden), rounded["hidden"], real["hidden"]),
        "value": (_unscaled(shared, hidden), rounded["hidden"], real["hidden"]),
        "attention_output": (_unscaled(linears["attention_output"], context), rounded["context"], real["context"]),
        "intermediate": (_unscaled(intermediate, attended), rounded["attended"], real["attended"]),
    }
    factors = {"attention_output": context.factors, "intermediate": attended.factors}
    quantized = {name: _quantize(linear, values, (exact[sample] * factors.get(name, hidden.factors)).mean(axis=0) @ linear.weight)
                 for name, (linear, values, exact) in behind.items()}
    neurons = gelu(real["attended"][sample] @ linears["intermediate"].weight + linears["intermediate"].bias)
    quantized["output"] = _quantize(output, after_gelu, neurons.mean(axis=0) @ linears["output"].weight)
    return BlockPlan(hidden, context.scale, attended, widened, quantized)


def _quantize(linear: Linear, rounded: np.ndarray, wanted: np.ndarray) -> Quantized:
    """Int8 weights behind `rounded` values [samples, inputs]; the bias brings the mean of the product to `wanted` [outputs]."""
    codes, steps = round_weight_for(linear.weight, rounded)
    error = wanted - rounded.mean(axis=0) @ (codes * steps)
    return Quantized(codes, steps, (linear.bias + error).astype(np.float32))


def equalize(linear: Linear, real: np.ndarray, odd: np.ndarray) -> Equalized:
    """Factors and scale with the least error of real values [samples, inputs] @ weight, among several strengths."""
    sample = real[_sample(len(real), SEARCH_SAMPLES)]
    wanted = sample @ linear.weight
    everything = np.concatenate([real, odd])
    largest = np.maximum(np.abs(everything).max(axis=0), 1e-6)
    weighing = np.maximum(np.abs(linear.weight).max(axis=1), 1e-6)
    best: tuple[float, Equalized] | None = None
    for strength in STRENGTHS:
        factors = largest**-strength * weighing ** (1 - strength)
        factors = (factors / np.exp(np.log(factors).mean())).astype(np.float32)
        scale = scale_for((everything * factors).min(), (everything * factors).max())
        codes, steps = round_weight(linear.weight / factors[:, None])
        error = float(np.square(scale.round(sample * factors) @ (codes * steps) - wanted).sum())
        if best is None or error < best[0]:
            best = error, Equalized(factors, scale)
    assert best is not None
    return best[1]


def split_outliers(intermediate: Linear, output: Linear, real: np.ndarray, odd: np.ndarray) -> tuple[Scale, Copies]:
    """The scale after GELU and the copies it needs, with the least error of the layer's output on real values."""
    sample = real[_sample(len(real), SEARCH_SAMPLES)]
    wanted = gelu(sample @ intermediate.weight + intermediate.bias) @ output.weight
    # The second largest: one sample alone may be an accident, and saturates gracefully.
    reached = np.sort(np.concatenate([real, odd]) @ intermediate.weight + intermediate.bias, axis=0)[-2] * HEADROOM
    best: tuple[float, Scale, Copies] | None = None
    for top in TOPS:
        scale = scale_for(GELU_MIN, float(top))
        copies = _copies(reached, scale.top)
        if copies is None:
            continue
        wide, narrow = with_copies(intermediate, output, copies)
        codes, steps = round_weight(narrow.weight)
        error = float(np.square(scale.round(gelu(sample @ wide.weight + wide.bias)) @ (codes * steps) - wanted).sum())
        if best is None or error < best[0]:
            best = error, scale, copies
    if best is None:  # no top is high enough for so few copies: let one scale span everything
        return scale_for(GELU_MIN, float(reached.max())), Copies(*(np.zeros(0, kind) for kind in (np.int64, np.float32, np.float32)))
    return best[1], best[2]


def with_copies(intermediate: Linear, output: Linear, copies: Copies) -> tuple[Linear, Linear]:
    """Both linear layers of the feed-forward network with the copied neurons behind the others."""
    sources, gains = copies.sources, copies.gains
    wide = Linear(
        np.concatenate([intermediate.weight, intermediate.weight[:, sources] * gains], axis=1),
        np.concatenate([intermediate.bias, (intermediate.bias[sources] - copies.thresholds) * gains]),
    )
    return wide, Linear(np.concatenate([output.weight, output.weight[sources] / gains[:, None]]), output.bias)


def gelu(values: np.ndarray) -> np.ndarray:
    """x * Phi(x), the exact form that the graph computes."""
    return (values * 0.5 * (1 + erf(values / np.sqrt(2)))).astype(np.float32)


def _copies(reached: np.ndarray, top: float) -> Copies | None:
    """Copies so that every neuron can reach `reached` [neurons]; None where they are more than COPIES."""
    beyond = np.maximum(reached - top, 0)
    counts = np.ceil(beyond / top).astype(np.int64)
    if counts.sum() > COPIES:
        return None
    # Spare copies are headroom for the neurons that come closest to the top.
    sources = np.repeat(np.arange(len(reached)), counts)
    order = np.concatenate([np.arange(count) for count in counts]) if len(sources) else np.zeros(0)
    gains = np.minimum(counts[sources] * top / np.maximum(beyond[sources], 1e-6), GAIN_MAX)
    spare = COPIES - len(sources)
    idle = np.argsort(-np.where(counts > 0, -np.inf, reached))[:spare]
    return Copies(
        np.concatenate([sources, idle]),
        np.concatenate([top + order * top / gains, np.full(spare, top)]).astype(np.float32),
        np.concatenate([gains, np.full(spare, GAIN_MAX)]).astype(np.float32),
    )


def _unscaled(linear: Linear, equalized: Equalized) -> Linear:
    """The linear layer behind equalized values: the same result from values multiplied by the factors."""
    return Linear(linear.weight / equalized.factors[:, None], linear.bias)


def _sample(count: int, wanted: int) -> np.ndarray:
    """The same `wanted` of `count` indices every time."""
    return np.random.default_rng(0).permutation(count)[:wanted]
