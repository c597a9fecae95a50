"""Rounding to 8 bits: activations to one asymmetric uint8 scale a tensor, weights to one symmetric int8 scale a column."""

from dataclasses import dataclass

import numpy as np

# Diagonal added to the inputs' second moments, as a fraction of their mean, so that they can be inverted.
DAMPING = 0.01
BLOCK = 128


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
    """Steps [outputs] of a weight [inputs, outputs]; an empty column gets 1."""
    steps = np.abs(weight).max(axis=0) / 127
    return np.where(steps > 0, steps, 1)


def round_weight(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest int8 codes [inputs, outputs] and their steps [outputs]."""
    steps = weight_steps(weight)
    return np.clip(np.rint(weight / steps), -127, 127).astype(np.int8), steps.astype(np.float32)


def round_weight_for(weight: np.ndarray, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Int8 codes and steps that keep `inputs @ weight` rather than `weight` itself, by GPTQ (arXiv 2210.17323).

    `inputs` [samples, inputs] are values as they will be multiplied, already rounded. Weights are rounded one input after
    the other, the busiest first, and each rounding error is made up for by the inputs that are still to come.
    """
    steps = weight_steps(weight)
    moments = inputs.T.astype(np.float64) @ inputs.astype(np.float64)
    moments[np.diag_indices_from(moments)] += DAMPING * np.mean(np.diag(moments))
    order = np.argsort(-np.diag(moments))
    # Row j of this factor says how an error of input j is spread over the inputs after it.
    spread = np.linalg.cholesky(np.linalg.inv(moments[np.ix_(order, order)])).T
    rest = weight[order].astype(np.float64)
    codes = np.zeros_like(rest)
    for start in range(0, len(rest), BLOCK):
        end = min(start + BLOCK, len(rest))
        errors = np.zeros((end - start, rest.shape[1]))
        for j in range(start, end):
            codes[j] = np.clip(np.rint(rest[j] / steps), -127, 127)
            errors[j - start] = (rest[j] - codes[j] * steps) / spread[j, j]
            rest[j + 1 : end] -= np.outer(spread[j, j + 1 : end], errors[j - start])
        rest[end:] -= spread[start:end, end:].T @ errors
    return codes[np.argsort(order)].astype(np.int8), steps.astype(np.float32)
