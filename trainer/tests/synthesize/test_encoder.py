"""The encoder measures with the vectors that the server serves."""

import json
from pathlib import Path

import numpy as np
import pytest

from trainer.errors import InputError
from trainer.synthesize.encoder import Encoder

MODEL = Path(__file__).parents[3] / "models" / "all-minilm-l6-v2" / "1-float32"
TEXTS = ["Lock gates hold the water of a canal back.", "canal", "Die Tore halten das Wasser zurück. " * 30, "How do the doors of a lock work?"]


@pytest.mark.skipif(not (MODEL / "model.onnx").is_file(), reason="the exported model is made by `npm run model`, and not in the repository")
def test_vectors_equal_those_of_the_trainers_own_session() -> None:
    pytest.importorskip("torch")
    from trainer.session import EncoderSession

    encoder = Encoder(MODEL, threads=1)
    rows = [encoding.ids for encoding in encoder._tokenizer.encode_batch(TEXTS)]
    expected = EncoderSession(MODEL / "model.onnx", threads=1).embed(rows, encoder.manifest["pooling"]["gamma"]).numpy()
    np.testing.assert_allclose(encoder.embed(TEXTS), expected, atol=1e-5)


def test_a_text_has_the_same_unit_vector_alone_in_company_and_from_the_cache(encoder_folder: Path) -> None:
    texts = ["bababa bebebe", "bababa", " ".join(["bibibi"] * 700)]
    encoder = Encoder(encoder_folder, threads=1)
    together = encoder.embed(texts)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(together, np.concatenate([Encoder(encoder_folder, threads=1).embed([text]) for text in texts]), atol=1e-6)
    np.testing.assert_array_equal(encoder.embed(texts), together)


@pytest.mark.parametrize(("pooling", "hand"), [("mean", [1.5, 2.0]), ("cls", [1.0, 0.0]), ("last", [2.0, 4.0])])
def test_other_poolings_weigh_tokens_as_their_names_say(pooling: str, hand: list[float]) -> None:
    from trainer.synthesize.encoder import _weights

    hidden = np.array([[1.0, 0.0], [2.0, 4.0], [9.0, 9.0]])
    weights = _weights({"mode": pooling}, np.array([[1, 1, 0]]))[0]
    np.testing.assert_allclose(weights @ hidden / weights.sum(), hand)


def test_a_folder_that_cannot_be_measured_with_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no manifest.json"):
        Encoder(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"pooling": {"mode": "latent-attention"}}))
    with pytest.raises(InputError, match="'latent-attention' cannot be measured with"):
        Encoder(tmp_path)
