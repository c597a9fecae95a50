"""Rounding to 8 bits: activations to one asymmetric uint8 scale a tensor, weights to one symmetric int8 scale a column.

x86 processors without VNNI multiply uint8 by int8 in pairs and saturate a pair's sum at 16 bits. So that every machine
computes the same, a column's codes keep this bound: of the inputs 2i and 2i + 1, positive codes add up to at most PAIR_MAX,
and negative ones to at least -PAIR_MAX (255 x 128 < 2^15).
"""

from dataclasses import dataclass

import numpy as np

# Diagonal added to the inputs' second moments, as a fraction of their mean, so that they can be inverted.
DAMPING = 0.01
BLOCK = 128
CODE_MAX = 127
PAIR_MAX = 128


@dataclass(frozen=True)
class Scale:
    """value = (code - zero_point) * step, codes 0..255; values outside saturate."""

    step: np.float32
    zero_point: np.uint8

    @property
    def top(self) -> float:
        """The largest value that is not saturated."""
        return float((255 - int(self.zero_point)) * self.step)

    def round(self, values: np.ndarray) -> np.ndarray:
        """The values that come back from 8 bits."""
        zero = np.float32(self.zero_point)
        return (np.clip(np.rint(values / self.step) + zero, 0, 255) - zero) * self.step


def scale_for(low: float, high: float) -> Scale:
    """The scale whose codes span [low, high], 0 included and exact."""
    low, high = min(low, 0.0), max(high, 1e-6)
    step = np.float32((high - low) / 255)
    return Scale(step, np.uint8(np.clip(np.rint(-low / step), 0, 255)))


def weight_steps(weight: np.ndarray) -> np.ndarray:
    """Steps [outputs] of a weight [inputs, outputs], the least that keep its codes within both bounds; an empty column gets 1."""
    even = weight if len(weight) % 2 == 0 else np.concatenate([weight, np.zeros_like(weight[:1])])
    pairs = even.reshape(len(even) // 2, 2, -1)
    sums = np.maximum(np.maximum(pairs, 0).sum(axis=1), np.maximum(-pairs, 0).sum(axis=1)).max(axis=0)
    steps = np.maximum(np.abs(weight).max(axis=0) / CODE_MAX, sums / PAIR_MAX)
    return np.where(steps > 0, steps, 1)


def round_weight(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest int8 codes [inputs, outputs] and their steps [outputs]."""
    steps = weight_steps(weight)
    # Towards zero where rounding both of a pair up would pass the bound by one.
    codes = np.rint(weight / steps)
    partner = _partners(codes)
    codes = np.where(np.abs(codes) + np.abs(partner) * (codes * partner > 0) > PAIR_MAX, np.trunc(weight / steps), codes)
    return codes.astype(np.int8), steps.astype(np.float32)


def round_weight_for(weight: np.ndarray, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Int8 codes and steps that keep `inputs @ weight` rather than `weight` itself, by GPTQ (arXiv 2210.17323).

    `inputs` [samples, inputs] are values as they will be multiplied, already rounded. Weights are rounded one input after
    the other, the busiest first, and each rounding error is made up for by the inputs that are still to come.
    """
    steps = weight_steps(weight)
    moments = inputs.T.astype(np.float64) @ inputs.astype(np.float64)
    moments[np.diag_indices_from(moments)] += DAMPING * np.mean(np.diag(moments))
    order = np.argsort(-np.diag(moments))
    place = np.argsort(order)
    # Row j of this factor says how an error of input j is spread over the inputs after it.
    spread = np.linalg.cholesky(np.linalg.inv(moments[np.ix_(order, order)])).T
    rest = weight[order].astype(np.float64)
    codes = np.zeros_like(rest)
    for start in range(0, len(rest), BLOCK):
        end = min(start + BLOCK, len(rest))
        errors = np.zeros((end - start, rest.shape[1]))
        for j in range(start, end):
            partner = codes[place[order[j] ^ 1]] if order[j] ^ 1 < len(order) else np.zeros(1)
            highest, lowest = (np.minimum(CODE_MAX, PAIR_MAX - np.maximum(sign * partner, 0)) for sign in (1, -1))
            codes[j] = np.clip(np.rint(rest[j] / steps), -lowest, highest)
            errors[j - start] = (rest[j] - codes[j] * steps) / spread[j, j]
            rest[j + 1 : end] -= np.outer(spread[j, j + 1 : end], errors[j - start])
        rest[end:] -= spread[start:end, end:].T @ errors
    return codes[place].astype(np.int8), steps.astype(np.float32)


def _partners(codes: np.ndarray) -> np.ndarray:
    """Row i ^ 1 in place of row i; zeros for a last row that has none."""
    even = codes if len(codes) % 2 == 0 else np.concatenate([codes, np.zeros_like(codes[:1])])
    return even.reshape(len(even) // 2, 2, -1)[:, ::-1].reshape(len(even), -1)[: len(codes)]
