"""An embedding model as sentence-transformers keeps it: transformer, pooling, normalization; made, saved and loaded.

A saved folder is an ordinary sentence-transformers folder. Where it uses a module of ours, that module's files lie beside
the weights and modules.json names it, so `SentenceTransformer(folder, trust_remote_code=True)` needs nothing of Anchorage.
Loading it here takes our own classes and never runs code from the folder.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from transformers.utils.logging import disable_progress_bar

from trainer.encoder import positions_of
from trainer.errors import InputError
from trainer.poolings import saved_pooling
from trainer.poolings.anchor_token_aware import AnchorTokenAwarePooling, ReceivedAttentionTransformer
from trainer.poolings.latent_attention import LatentAttentionPooling
from trainer.poolings.multi_layer import MultiLayerPooling

# Standard output belongs to events; a bar for every folder that is read would drown standard error.
disable_progress_bar()

POOLING_MODES = ("ata", "mean", "cls", "last", "latent-attention", "multi-layer")
OUR_MODULES = {module.__name__: module for module in (
    ReceivedAttentionTransformer, AnchorTokenAwarePooling, LatentAttentionPooling, MultiLayerPooling)}
STOCK_MODULES = {module.__name__: module for module in (Transformer, Pooling, Normalize)}


@dataclass(frozen=True)
class PoolingChoice:
    """How hidden states become one vector. Fields that a mode does not use are ignored."""

    mode: str = "ata"
    gamma: float = 1.0
    learn_gamma: bool = False
    learn_head_weights: bool = False
    layers: str = "last"
    latents: int = 512
    heads: int = 8

    def __post_init__(self) -> None:
        if self.mode not in POOLING_MODES:
            raise InputError(f"pooling.mode {self.mode!r} must be one of {', '.join(POOLING_MODES)}")


def new_model(
    base: Path, choice: PoolingChoice, max_tokens: int | None = None, dtype: torch.dtype = torch.float32, keep_layers: Sequence[int] = (),
) -> SentenceTransformer:
    """A model over the Hugging Face or sentence-transformers folder `base`, pooled as `choice` says, normalized.

    Texts are cut at `max_tokens`, or at what the base has positions for. Of its layers `keep_layers` stay, or all. A decoder's attention is made bidirectional. Raises InputError where `base` is no text encoder or
    cannot be pooled or cut so.
    """
    config = _read_config(base)
    longest = min(max_tokens, positions_of(config) or max_tokens) if max_tokens else None
    options: dict[str, Any] = {"model_kwargs": {"dtype": dtype}, "max_seq_length": longest}
    try:
        if choice.mode == "ata" or is_decoder(config):
            layers = choice.layers if choice.mode == "ata" else "none"
            transformer = ReceivedAttentionTransformer(str(base), layers=layers, **options)
        else:
            transformer = Transformer(str(base), **options)
        if keep_layers:
            _keep_layers(transformer.model, keep_layers)
        pooling = _pooling(choice, transformer)
    except (ValueError, OSError) as error:
        raise InputError(f"{base} cannot be used with pooling {choice.mode}: {str(error).splitlines()[0]}") from error
    transformer.model.config.output_hidden_states = choice.mode == "multi-layer"
    if is_decoder(config):
        transformer.model.config.is_causal = False
    if transformer.tokenizer.pad_token is None:
        transformer.tokenizer.pad_token = transformer.tokenizer.eos_token
    return SentenceTransformer(modules=[transformer, pooling, Normalize()], device="cpu", prompts={"query": "", "document": ""})


def is_decoder(config: dict[str, Any]) -> bool:
    """Whether config.json describes a causal language model (Mistral, Qwen, Llama and others)."""
    architecture = " ".join(config.get("architectures") or [])
    return "CausalLM" in architecture or config.get("model_type") in ("mistral", "qwen2", "qwen3", "llama", "gemma", "phi3")


def save_model(model: SentenceTransformer, folder: Path) -> None:
    """Write `folder` so that our loader and sentence-transformers alone can read it."""
    model.save(str(folder), create_model_card=False)
    path = folder / "modules.json"
    entries = json.loads(path.read_text(encoding="utf-8"))
    for entry in entries:
        module = OUR_MODULES.get(entry["type"].rsplit(".", 1)[-1])
        if module is not None:
            source = Path(sys.modules[module.__module__].__file__)
            for file in (source, Path(saved_pooling.__file__)):
                shutil.copyfile(file, folder / file.name)
            entry["type"] = f"{source.stem}.{module.__name__}"
    path.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")


def load_model(folder: Path) -> SentenceTransformer:
    """The model saved in `folder`, on the CPU; raises InputError that names what cannot be read."""
    path = folder / "modules.json"
    if not path.is_file():
        raise InputError(f"{folder} has no modules.json: it is no saved sentence-transformers model")
    modules = []
    for entry in json.loads(path.read_text(encoding="utf-8")):
        name = entry["type"].rsplit(".", 1)[-1]
        module = {**STOCK_MODULES, **OUR_MODULES}.get(name)
        if module is None:
            raise InputError(f"{path} names the module {entry['type']}, which the trainer does not know")
        modules.append(module.load(str(folder), subfolder=entry["path"], local_files_only=True))
    prompts_path = folder / "config_sentence_transformers.json"
    prompts = json.loads(prompts_path.read_text(encoding="utf-8")).get("prompts") if prompts_path.is_file() else None
    return SentenceTransformer(modules=modules, device="cpu", prompts={"query": "", "document": "", **(prompts or {})})


def _keep_layers(encoder: torch.nn.Module, kept: Sequence[int]) -> None:
    """Leave out all layers but `kept` of a BERT-like encoder."""
    layers = getattr(getattr(encoder, "encoder", None), "layer", None)
    if layers is None:
        raise InputError(f"keep_layers needs an encoder with a list of layers, as BERT has, not {type(encoder).__name__}")
    if list(kept) != sorted(set(kept)) or not 0 <= kept[0] <= kept[-1] < len(layers):
        raise InputError(f"keep_layers must rise and lie between 0 and {len(layers) - 1}, not {list(kept)}")
    encoder.encoder.layer = torch.nn.ModuleList([layers[i] for i in kept])
    encoder.config.num_hidden_layers = len(kept)
    for number, layer in enumerate(encoder.encoder.layer):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = number


def _pooling(choice: PoolingChoice, transformer: Transformer) -> torch.nn.Module:
    dimensions = transformer.get_embedding_dimension()
    config = transformer.model.config
    if choice.mode == "ata":
        heads = config.num_attention_heads * (config.num_hidden_layers if choice.layers == "all" else 1)
        return AnchorTokenAwarePooling(dimensions, heads, gamma=choice.gamma, learn_gamma=choice.learn_gamma,
                                       learn_head_weights=choice.learn_head_weights)
    if choice.mode == "latent-attention":
        return LatentAttentionPooling(dimensions, choice.latents, choice.heads)
    if choice.mode == "multi-layer":
        return MultiLayerPooling(dimensions, config.num_hidden_layers, choice.heads)
    return Pooling(dimensions, pooling_mode={"mean": "mean", "cls": "cls", "last": "lasttoken"}[choice.mode])


def _read_config(base: Path) -> dict[str, Any]:
    path = base / "config.json"
    if not path.is_file():
        raise InputError(f"{base} is not a Hugging Face model folder: it has no config.json")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    if config.get("is_encoder_decoder") or "num_attention_heads" not in config and "n_heads" not in config:
        raise InputError(f"{base} is no text encoder or decoder: its architecture is {config.get('architectures') or 'not named'}")
    return config
