"""A trained model (modules.json) becomes a model version: its graph, held against sentence-transformers on the reference texts."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from trainer import pooling
from trainer.encoder import load_encoder, positions_of
from trainer.errors import InputError
from trainer.events import emit
from trainer.exit_layers import ask_for_exits, at_exit, pooled
from trainer.export.bert_graph import LAYERS_INPUT
from trainer.export.bert_weights import is_plain_bert
from trainer.export.calibration import CALIBRATION_TEXTS, read_calibration_texts
from trainer.export.exits import check_exits
from trainer.export.kinds import write_graph
from trainer.export.learned_pooling import learned_head_weights
from trainer.export.manifest import write_manifest
from trainer.export.parity import BATCH, BOUNDS, Parity, check_parity, reference_texts
from trainer.export.publish import copy_tokenizer, new_version_folder
from trainer.export.trained_graph import TOKEN_OUTPUTS, export_trained_graph, input_names, pooling_entry
from trainer.model import load_model


def is_trained(folder: Path) -> bool:
    """Whether `folder` says by itself how it is pooled."""
    return (folder / "modules.json").is_file()


def check_plain_heads(folder: Path) -> None:
    """Raise InputError where `folder` learned head weights that pooling by another gamma would not know."""
    if learned_head_weights(folder) is not None:
        raise InputError(f"{folder} learned a weight for each head; export it without --gamma, with its own pooling")


def export_trained(arguments: argparse.Namespace) -> None:
    """Make the version that `arguments` (of `trainer export`) name; its pooling is the one it was trained with."""
    model = load_model(arguments.model)
    if arguments.max_tokens:
        model.max_seq_length = _within_positions(arguments.max_tokens, model)
    with new_version_folder(arguments.output, arguments.name, arguments.version) as folder:
        emit("progress", stage="graph", quantization=arguments.quantization)
        vectors = torch.from_numpy(model.encode(reference_texts(), batch_size=BATCH, show_progress_bar=False))
        outputs = _write(model, arguments, folder / "model.onnx")
        emit("progress", stage="parity")
        parity = _measure(model, folder / "model.onnx", outputs, vectors)
        emit("parity", **parity.figures())
        check_parity(parity, BOUNDS[arguments.quantization])
        for one in arguments.exits:
            parity_there = _measure(model, folder / "model.onnx", outputs, _vectors_at(model, one["layers"]), one["layers"])
            emit("parity", layers=one["layers"], **parity_there.figures())
            check_parity(parity_there, BOUNDS[arguments.quantization])
        copy_tokenizer(arguments.model, folder)
        manifest = write_manifest(folder, _fields(model, arguments, outputs, parity))
        if (arguments.model / "README.md").is_file():
            (folder / "README.md").write_bytes((arguments.model / "README.md").read_bytes())
    emit("done", folder=str(arguments.output / arguments.name / arguments.version), fingerprint=manifest["fingerprint"], pooling=manifest["pooling"])


def _within_positions(asked: int, model: SentenceTransformer) -> int:
    """Attention and positions reach further than the texts of a short training did; not beyond the position table."""
    if asked < 1:
        raise InputError(f"--max-tokens {asked} must be at least 1")
    return min(asked, positions_of(model[0].model.config.to_dict()) or asked)


def _write(model: SentenceTransformer, arguments: argparse.Namespace, path: Path) -> dict[str, str]:
    """The graph in the best form there is for it; returns the manifest's `outputs`."""
    token_weights = pooling_entry(model)["mode"] != "graph" and getattr(model[0], "layers", "last") != "all"
    if token_weights and model[0].model.config.model_type == "bert":
        encoder = load_encoder(arguments.model)
        if is_plain_bert(encoder):
            exits = check_exits(arguments.exits, len(encoder.model.encoder.layer), encoder.dimensions)
            write_graph(encoder, arguments.quantization, path, read_calibration_texts(arguments.calibration_data or [CALIBRATION_TEXTS]),
                        [one["layers"] for one in exits])
            arguments.exits = exits
            return TOKEN_OUTPUTS
    if arguments.exits:
        raise InputError("--exit is made for BERT with a pooling by token weights")
    if arguments.quantization != "float32":
        raise InputError(f"--quantization {arguments.quantization} is made for BERT with a pooling by token weights; {arguments.model} is exported as float32")
    return export_trained_graph(model, path)


def _fields(model: SentenceTransformer, arguments: argparse.Namespace, outputs: dict[str, str], parity: Parity) -> dict[str, Any]:
    """The manifest's fields that are known before the files are hashed."""
    run = _run_facts(arguments.model)
    return {
        "name": arguments.name, "version": arguments.version, "architecture": type(model[0].model).__name__,
        "dimensions": model.get_embedding_dimension(), "matryoshkaDimensions": _matryoshka(run.get("recipe", {}), model.get_embedding_dimension()),
        "maxTokens": model.max_seq_length, "pooling": pooling_entry(model), "normalize": True, "inputs": input_names(model), "outputs": outputs,
        "padTokenId": model.tokenizer.pad_token_id or 0, "paddingSide": "right", "prompts": {"query": "", "document": "", **model.prompts},
        "quantization": arguments.quantization, "exits": arguments.exits, "batchInvariant": parity.batch_min_cosine >= 0.9999,
        "source": {"origin": arguments.origin or Path(run.get("recipe", {}).get("base", "")).name, "license": arguments.license or run.get("recipe", {}).get("license", "")},
        "evaluation": [{"set": "reference_texts", "metric": key, "value": value} for key, value in parity.figures().items() if key != "texts"],
    }


def _run_facts(folder: Path) -> dict[str, Any]:
    """run.json of the training run that `folder` is the model/ of, if any."""
    path = folder.parent / "run.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _matryoshka(recipe: Any, whole: int) -> list[int]:
    """Sizes below the whole that some loss of the recipe trained, largest first."""
    if isinstance(recipe, list):
        return sorted({size for item in recipe for size in _matryoshka(item, whole)}, reverse=True)
    if not isinstance(recipe, dict):
        return []
    own = recipe.get("dimensions", []) if recipe.get("name") == "matryoshka" else []
    return sorted({size for size in own if size < whole} | set(_matryoshka(list(recipe.values()), whole)), reverse=True)


def _vectors_at(model: SentenceTransformer, layers: int) -> Tensor:
    """[texts, dimensions]: what the model's own pooling makes of the reference texts behind so many layers."""
    ask_for_exits(model, [layers])
    texts, vectors = reference_texts(), []
    with torch.inference_mode():
        for start in range(0, len(texts), BATCH):
            vectors.append(pooled(model, at_exit(model[0](model.preprocess(texts[start : start + BATCH])), layers)))
    return torch.cat(vectors)


def _measure(model: SentenceTransformer, graph: Path, outputs: dict[str, str], expected: Tensor, layers: int = 0) -> Parity:
    """The graph's vectors of each reference text alone, and of every third in padded company, against `expected` [texts, dimensions]; after an exit,
    or `layers` 0, after all."""
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    texts, entry = reference_texts(), pooling_entry(model)
    model.tokenizer.padding_side = "right"

    def embed(some: list[str]) -> Tensor:
        features = model.tokenizer(some, padding=True, truncation=True, max_length=model.max_seq_length, return_tensors="np")
        fed = {name: features[name].astype(np.int64) if name in features else np.zeros_like(features["input_ids"], dtype=np.int64) for name in input_names(model)}
        if any(node.name == LAYERS_INPUT for node in session.get_inputs()):
            fed[LAYERS_INPUT] = np.array([layers], np.int64)
        return _pool(session.run(list(outputs.values()), fed), fed["attention_mask"], entry)

    alone = torch.cat([embed([text]) for text in texts])
    batched = alone.clone()
    rows = list(range(0, len(texts), 3))
    batches = -(-len(rows) // BATCH)
    for start in range(batches):
        some = rows[start::batches]
        batched[some] = embed([texts[row] for row in some])
    cosine = torch.nn.functional.cosine_similarity
    worst = torch.minimum(cosine(alone.double(), expected.double()), cosine(batched.double(), expected.double()))
    return Parity(
        texts=len(texts), max_difference=max((alone - expected).abs().max().item(), (batched - expected).abs().max().item()),
        min_cosine=worst.min().item(), mean_cosine=worst.mean().item(), batch_max_difference=(alone - batched).abs().max().item(),
        batch_min_cosine=cosine(alone.double(), batched.double()).min().item())


def _pool(outputs: list[np.ndarray], mask: np.ndarray, entry: dict[str, Any]) -> Tensor:
    """What the server makes of the graph's outputs: normalized [batch, dimensions]."""
    first = torch.from_numpy(outputs[0])
    if entry["mode"] == "graph":
        return first
    attention_mask = torch.from_numpy(mask)
    pooled = {"ata": lambda: pooling.anchor_token_aware(first, torch.from_numpy(outputs[1]), attention_mask, entry.get("gamma", 0.0)),
              "mean": lambda: pooling.mean(first, attention_mask), "cls": lambda: pooling.cls(first),
              "last": lambda: pooling.last_token(first, attention_mask)}
    return pooling.normalize(pooled[entry["mode"]]())
