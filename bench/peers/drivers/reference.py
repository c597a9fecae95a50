"""The float32 reference of PyTorch with eager attention, each text alone.

usage: reference.py FOLDER MAX_TOKENS mean|cls GAMMA, as a driver; a row holds the vector pooled by mean or as the first
token's state, then the anchor-token-aware one.
"""

import sys

import numpy as np
import torch
from line_driver import serve
from transformers import AutoModel, AutoTokenizer


def load():
    folder, max_tokens, pooling, gamma = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()

    @torch.inference_mode()
    def both_poolings(text: str) -> np.ndarray:
        inputs = tokenizer(text, truncation=True, max_length=max_tokens, return_tensors="pt")
        outputs = model(**inputs, output_attentions=True)
        hidden = outputs.last_hidden_state[0]
        received = outputs.attentions[-1][0].sum(dim=(0, 1)) ** gamma
        own = torch.nn.functional.normalize(hidden[0] if pooling == "cls" else hidden.mean(dim=0), dim=0)
        anchored = torch.nn.functional.normalize((received / received.sum()) @ hidden, dim=0)
        return torch.cat([own, anchored]).numpy()

    return lambda texts, _batch_size: np.stack([both_poolings(text) for text in texts])


serve(load)
