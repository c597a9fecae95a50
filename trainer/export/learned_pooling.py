"""What anchor-token-aware training left in a saved folder beside the encoder's weights."""

import json
from pathlib import Path

import numpy as np

# Rounding of weights that were never trained.
HEADS_ALIKE = 1e-4


def learned_head_weights(folder: Path) -> np.ndarray | None:
    """Weights [heads] of mean 1 that received attention sums its heads with; None where heads count alike."""
    for path in folder.glob("*_AnchorTokenAwarePooling/config.json"):
        weights = np.array(json.loads(path.read_text(encoding="utf-8"))["head_weights"], np.float32)
        if weights.max() - weights.min() > HEADS_ALIKE:
            return weights
    return None
