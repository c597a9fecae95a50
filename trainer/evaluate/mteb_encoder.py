"""Any of our encoders, a running server among them, in the form that the mteb package evaluates.

mteb is no part of the locked environment (`uv pip install --python trainer/.venv/bin/python mteb`): it is large, and its tasks
fetch their data from the Hugging Face hub unless they lie in its cache.
"""

from typing import Any

import mteb
import numpy as np
from mteb.models import ModelMeta

from trainer.errors import InputError
from trainer.evaluate.encoders import TextEncoder


class MtebEncoder:
    """mteb's EncoderProtocol over a TextEncoder; vectors have length 1, so similarity is a product."""

    def __init__(self, encoder: TextEncoder, name: str = "anchorage/encoder", revision: str = "local") -> None:
        self.encoder = encoder
        self.mteb_model_meta = ModelMeta.create_empty(overwrites={"name": name, "revision": revision})

    def encode(self, inputs: Any, *, prompt_type: Any = None, **_: Any) -> np.ndarray:
        """`inputs`: batches with "text". Queries and documents get the encoder's prompts, other tasks none."""
        role = getattr(prompt_type, "value", None) or ""
        return np.concatenate([self.encoder.encode(batch["text"], role) for batch in inputs])

    def similarity(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return np.asarray(left) @ np.asarray(right).T

    def similarity_pairwise(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return (np.asarray(left) * np.asarray(right)).sum(axis=-1)


def run_mteb_task(task: str, encoder: TextEncoder) -> dict[str, Any]:
    """Main score of the MTEB task named `task`: {"metric", "value"} in percent. Raises InputError where its data cannot be had."""
    try:
        chosen = mteb.get_task(task)
    except KeyError as error:
        raise InputError(f"mteb knows no task {task}: {error}") from error
    try:
        result = mteb.evaluate(MtebEncoder(encoder), chosen, cache=None, show_progress_bar=False)
    except (OSError, ConnectionError, ValueError) as error:
        raise InputError(f"the MTEB task {task} could not be run: {str(error).splitlines()[0]}") from error
    return {"metric": chosen.metadata.main_score, "value": round(100 * float(result.task_results[0].get_score()), 3)}
