"""A Hugging Face encoder folder, checked and loaded: the trainer's starting point."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, PreTrainedModel
from tokenizers import Tokenizer

from trainer.errors import InputError

# Positions below this many are reserved in RoBERTa's table (padding index 1, first position 2).
ROBERTA_POSITION_OFFSET = 2
ROBERTA_LIKE = ("roberta", "xlm-roberta", "camembert", "mpnet")


@dataclass(frozen=True)
class Encoder:
    """A bidirectional text encoder with its tokenizer, in evaluation mode with eager (materialized) attention."""

    folder: Path
    config: dict[str, Any]
    model: PreTrainedModel
    tokenizer: Tokenizer
    max_tokens: int

    @property
    def architecture(self) -> str:
        return (self.config.get("architectures") or ["unknown"])[0]

    @property
    def dimensions(self) -> int:
        return int(self.model.config.hidden_size)

    @property
    def heads(self) -> int:
        return int(self.model.config.num_attention_heads)

    @property
    def pad_token_id(self) -> int:
        return int(self.config.get("pad_token_id") or 0)

    @property
    def input_names(self) -> list[str]:
        """The graph's inputs, in the order the exporter feeds them."""
        names = ["input_ids", "attention_mask"]
        return names + ["token_type_ids"] if self.config.get("type_vocab_size", 0) > 1 else names

    def token_ids(self, text: str) -> list[int]:
        """Ids of `text` with special tokens, cut on the right to `max_tokens`."""
        return self.tokenizer.encode(text).ids


def load_encoder(folder: Path) -> Encoder:
    """Load `folder` (config.json, tokenizer.json, weights); raises InputError that names what is missing or unfit."""
    config = _read_config(folder)
    if not (folder / "tokenizer.json").is_file():
        raise InputError(f"{folder} has no tokenizer.json: save the model with its fast tokenizer (save_pretrained)")
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("pytorch_model*.bin")):
        raise InputError(f"{folder} has no weights (model.safetensors or pytorch_model.bin)")
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        model = AutoModel.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32, local_files_only=True)
    except Exception as error:  # the loaders raise many classes; each means that the folder cannot be used
        raise InputError(f"{folder} cannot be loaded: {str(error).splitlines()[0]}") from error
    max_tokens = _max_tokens(folder, config)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return Encoder(folder, config, model.eval(), tokenizer, max_tokens)


def _read_config(folder: Path) -> dict[str, Any]:
    """config.json of an encoder; decoders and encoder-decoders are refused, for their attention is not bidirectional."""
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{folder} is not a Hugging Face model folder: it has no config.json")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    architecture = " ".join(config.get("architectures") or [])
    if config.get("is_encoder_decoder") or config.get("is_decoder") or "CausalLM" in architecture or "LMHead" in architecture:
        raise InputError(f"{folder} is not a text encoder: its architecture is {architecture or config.get('model_type')}")
    if "model_type" not in config or "num_attention_heads" not in config:
        raise InputError(f"{path} does not describe a transformer encoder: model_type or num_attention_heads is missing")
    return config


def positions_of(config: dict[str, Any]) -> int | None:
    """How many tokens the position table of a config.json has room for; None where it names none."""
    positions = config.get("max_position_embeddings")
    return positions and int(positions) - (ROBERTA_POSITION_OFFSET if config.get("model_type") in ROBERTA_LIKE else 0)


def _max_tokens(folder: Path, config: dict[str, Any]) -> int:
    """The longest input, special tokens included: the position table's size, or less where the tokenizer says less."""
    positions = positions_of(config) or 512
    path = folder / "tokenizer_config.json"
    asked = json.loads(path.read_text(encoding="utf-8")).get("model_max_length") if path.is_file() else None
    return min(positions, int(asked)) if asked else positions
