"""A model version's ONNX graph turned back into a folder that PyTorch trains: what is served, or imported, as base or teacher.

    python -m trainer base --version models/bge-small-en-v1.5/1-float32 --output runs/bge-small

BERT encoders only, float32 ones as they were traced, and whatever our exporter wrote (trainer/graph_weights.py). The folder
carries the version's pooling, prompts and tokenizer, and is held to the graph before it is there: the same vectors for a few texts.
"""

import argparse
import json
import re
import shutil
from pathlib import Path

from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from trainer.errors import InputError
from trainer.evaluate.encoders import ModelEncoder, VersionEncoder
from trainer.events import emit
from trainer.export.parity import BOUNDS
from trainer.graph_weights import GraphWeights, graph_weights
from trainer.model import PoolingChoice, new_model, save_model
from trainer.poolings.anchor_token_aware import AnchorTokenAwarePooling

PROBES = ("heat pump", "How does a heat pump move heat?", "A heat pump moves heat from a cold place to a warm one, which takes work. " * 12)
COSINE_MIN = {"float32": 0.999999}  # of a text's vectors by graph and by PyTorch; where the graph rounds, what an int8 export must reach


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", type=Path, required=True, metavar="FOLDER", help="a model version, for example of `npm run model -- import`")
    parser.add_argument("--output", type=Path, required=True, help="a new folder")


def run(arguments: argparse.Namespace) -> None:
    if arguments.output.exists():
        raise InputError(f"{arguments.output} is there already")
    base_of_version(arguments.version, arguments.output)
    emit("done", folder=str(arguments.output))


def base_of_version(version: Path, output: Path) -> None:
    """Write `output`, a sentence-transformers folder; raises InputError where the graph is no BERT or the vectors differ."""
    manifest = json.loads((version / "manifest.json").read_text(encoding="utf-8"))
    found = graph_weights(version / "model.onnx")
    staging = output.with_name(output.name + ".new")
    shutil.rmtree(staging, ignore_errors=True)
    encoder = staging / "encoder"
    model = BertModel(_config(found, manifest), add_pooling_layer=False)
    missing, unexpected = model.load_state_dict(found.state, strict=False)
    if missing or unexpected:
        raise InputError(f"{version} is no BERT encoder that can be read: missing {missing[:3]}, unknown {unexpected[:3]}")
    model.save_pretrained(encoder)
    PreTrainedTokenizerFast(tokenizer_file=str(version / "tokenizer.json"), model_max_length=manifest["maxTokens"], unk_token="[UNK]", sep_token="[SEP]",
                            pad_token="[PAD]", cls_token="[CLS]", mask_token="[MASK]").save_pretrained(encoder)
    pooling = manifest["pooling"]
    whole = new_model(encoder, PoolingChoice(mode=pooling["mode"], gamma=pooling.get("gamma", 1.0)), manifest["maxTokens"])
    if found.head_weights is not None and pooling["mode"] == "ata":
        whole[1] = AnchorTokenAwarePooling(whole[1].embedding_dimension, found.heads, pooling["gamma"], found.head_weights)
    whole.prompts.update(manifest.get("prompts") or {})
    cosine = (ModelEncoder(whole).encode(PROBES, "query") * VersionEncoder(version).encode(PROBES, "query")).sum(axis=1).min()
    if not cosine >= COSINE_MIN.get(manifest["quantization"], BOUNDS["int8"].min_cosine):
        raise InputError(f"{version} gives other vectors than the weights read from it (cosine {cosine:.5f}): its graph is no plain BERT")
    emit("parity", cosine=round(float(cosine), 6))
    save_model(whole, staging / "whole")
    (staging / "whole").rename(output)
    shutil.rmtree(staging)


def _config(found: GraphWeights, manifest: dict) -> BertConfig:
    state = found.state
    words, hidden = state["embeddings.word_embeddings.weight"].shape
    layers = 1 + max(int(match[1]) for name in state if (match := re.match(r"encoder\.layer\.(\d+)\.", name)))
    return BertConfig(
        vocab_size=words, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=found.heads,
        intermediate_size=len(state["encoder.layer.0.intermediate.dense.bias"]), max_position_embeddings=len(state["embeddings.position_embeddings.weight"]),
        type_vocab_size=len(state["embeddings.token_type_embeddings.weight"]), pad_token_id=manifest["padTokenId"], architectures=["BertModel"])
