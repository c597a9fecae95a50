"""The model as a run trains it: adapters, frozen parts, precision; and as it leaves the run: merged, saved, with a card."""

import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from sentence_transformers import SentenceTransformer

from trainer.errors import InputError
from trainer.exit_layers import ask_for_exits
from trainer.model import OUR_MODULES, new_model, save_model
from trainer.recipe import Lora, Recipe


def prepare(recipe: Recipe) -> SentenceTransformer:
    """The recipe's base under its pooling, ready for training on the CPU. Weights drawn here follow the recipe's seed."""
    torch.manual_seed(recipe.seed)
    dtype = torch.bfloat16 if recipe.lora and recipe.base_precision == "bf16" else torch.float32
    model = new_model(Path(recipe.base), recipe.pooling, recipe.max_tokens, dtype, recipe.keep_layers)
    model.prompts.update(recipe.prompts)
    transformer = model[0]
    if recipe.dropout is not None:
        _set_dropout(transformer.model, recipe.dropout)
    if recipe.lora:
        _add_adapters(transformer.model, recipe.lora)
    for name, parameter in transformer.model.named_parameters():
        # BERT's pooler head is no part of any embedding: without a gradient, it must not decay either.
        if "pooler" in name:
            parameter.requires_grad_(False)
    if recipe.gradient_checkpointing:
        transformer.model.activation_checkpointing_enable({"use_reentrant": False})
    if recipe.exit_layers:
        _ask_for_exits(model, recipe)
    if recipe.imitates:
        transformer.model.config.output_hidden_states = True
    return model.train()


def finish(model: SentenceTransformer, folder: Path, recipe: Recipe, facts: dict[str, Any]) -> None:
    """Merge adapters and save the model with its card. `model` is not to be trained any further."""
    _merge_adapters(model[0].model)
    model.eval().to(device="cpu")
    model[0].model.config.output_hidden_states = recipe.pooling.mode == "multi-layer"
    save_model(model, folder)
    (folder / "README.md").write_text(card(model, recipe, facts), encoding="utf-8")


def card(model: SentenceTransformer, recipe: Recipe, facts: dict[str, Any]) -> str:
    """A model card: how to load it with sentence-transformers alone, and what made it."""
    own = any(type(module).__name__ in OUR_MODULES for module in model)
    trust = ", trust_remote_code=True" if own else ""
    why = ("\n`trust_remote_code=True` lets sentence-transformers (6 or newer) run the module files that lie beside the weights; "
           "read them, they are short. Nothing else is needed.\n" if own else "")
    return f"""{card_head(recipe.license)}
# {Path(recipe.output).name}

An embedding model with {model.get_embedding_dimension()} dimensions for texts of up to {model.max_seq_length} tokens, trained from
{Path(recipe.base).name} with {recipe.pooling.mode} pooling.

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder"{trust})
vectors = model.encode(["a text", "another"])
```
{why}
## Training

{facts['steps']} steps, {facts['records']} records seen, {facts['tokens']} tokens, seed {recipe.seed}. {recipe.notes}
Sources: {', '.join(f"{Path(source['path']).name} ({source['records']} records)" for source in facts['sources'])}.

```json
{json.dumps(facts['pooling'], indent=2)}
```
"""


def card_head(license: str) -> str:
    """What stands before a card's text, for those who read it by program; `license` may be empty."""
    return "---\nlibrary_name: sentence-transformers\npipeline_tag: sentence-similarity\n" + (f"license: {license}\n" if license else "") + "---\n"


def pooling_facts(model: SentenceTransformer) -> dict[str, Any]:
    """Where learned pooling has come to: gamma and head weights, or nothing for poolings without numbers to read."""
    pooling = model[1]
    if type(pooling).__name__ != "AnchorTokenAwarePooling":
        return {"mode": type(pooling).__name__}
    return {"mode": "ata", "gamma": pooling.gamma, "headWeights": [round(weight, 4) for weight in pooling.head_weights]}


def _set_dropout(base: torch.nn.Module, share: float) -> None:
    """Of every dropout layer, and of attention, whose modules keep the share as a number of their own."""
    for module in base.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = share


def _add_adapters(base: torch.nn.Module, lora: Lora) -> None:
    names = {name.rsplit(".", 1)[-1] for name, module in base.named_modules() if isinstance(module, torch.nn.Linear)}
    targets = [target for target in lora.targets if target in names]
    if not targets:
        raise InputError(f"lora.targets: none of {', '.join(lora.targets)} is a layer of this base; it has {', '.join(sorted(names))}")
    base.requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets), base)
    for name, parameter in base.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()


def _merge_adapters(base: torch.nn.Module) -> None:
    for name, module in list(base.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(base.get_submodule(parent), child, module.get_base_layer())


def _ask_for_exits(model: SentenceTransformer, recipe: Recipe) -> None:
    layers = model[0].model.config.num_hidden_layers
    if recipe.pooling.mode == "multi-layer" or recipe.pooling.layers == "all":
        raise InputError("exit_layers and a pooling over all layers exclude each other")
    if not all(1 <= layer < layers for layer in recipe.exit_layers):
        raise InputError(f"exit_layers must lie between 1 and {layers - 1}, for the base has {layers} layers")
    ask_for_exits(model, recipe.exit_layers)
