"""Export a Hugging Face encoder as a model version folder.

The graph is compared with the PyTorch model on real texts of every length before manifest.json is written; if it is not
equal within the bounds of its quantization, nothing is published and the exit code is 3.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from trainer.encoder import Encoder, load_encoder
from trainer.errors import InputError
from trainer.events import emit
from trainer.export.bert_weights import is_plain_bert
from trainer.export.calibration import CALIBRATION_TEXTS, read_calibration_texts
from trainer.export.exits import check_exits, parse_exit
from trainer.export.kinds import write_graph
from trainer.export.manifest import write_manifest
from trainer.export.parity import BOUNDS, Parity, check_parity, measure_parity
from trainer.export.publish import copy_tokenizer, new_version_folder
from trainer.export.torch_graph import OUTPUT_NAMES
from trainer.export.trained import check_plain_heads, export_trained, is_trained


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="Hugging Face folder of an encoder")
    parser.add_argument("--name", required=True, help="the model's name, for example all-minilm-l6-v2")
    parser.add_argument("--version", required=True, help="the version's name, for example 1-float32")
    parser.add_argument("--quantization", choices=sorted(BOUNDS), default="float32")
    parser.add_argument("--gamma", type=float, help="exponent of anchor-token-aware pooling (default: a trained model's own pooling, else 1)")
    parser.add_argument("--max-tokens", type=int, metavar="N",
                        help="longest text of a trained model, within its positions (default: what it was trained with)")
    parser.add_argument("--output", type=Path, default=Path("models"), metavar="FOLDER", help="where model versions live")
    parser.add_argument("--calibration-data", type=Path, action="append", metavar="FILE", default=[],
                        help="JSON Lines (.gz) of texts or query-positive pairs that int8 is calibrated on; may be repeated "
                             "(default: arXiv titles and abstracts that come with the trainer)")
    parser.add_argument("--exit", type=parse_exit, action="append", metavar="LAYERS[:SIZE,SIZE…]", default=[], dest="exits",
                        help="a layer after which a request may end, and the dimensions that its vectors may be cut to "
                             "(default: all of them); may be repeated")
    parser.add_argument("--origin", default="", help="where the weights come from, kept in the manifest")
    parser.add_argument("--license", default="", help="the weights' licence, kept in the manifest")


def run(arguments: argparse.Namespace) -> None:
    if arguments.gamma is None and is_trained(arguments.model):
        export_trained(arguments)
        return
    arguments.gamma = 1.0 if arguments.gamma is None else arguments.gamma
    if not 0 <= arguments.gamma <= 8:
        raise InputError(f"--gamma {arguments.gamma} must be between 0 and 8")
    check_plain_heads(arguments.model)
    encoder = load_encoder(arguments.model)
    exits = check_exits(arguments.exits, len(encoder.model.encoder.layer) if is_plain_bert(encoder) else 0, encoder.dimensions)
    with new_version_folder(arguments.output, arguments.name, arguments.version) as folder:
        graph = folder / "model.onnx"
        emit("progress", stage="graph", quantization=arguments.quantization)
        write_graph(encoder, arguments.quantization, graph, read_calibration_texts(arguments.calibration_data or [CALIBRATION_TEXTS]),
                    [one["layers"] for one in exits])
        emit("progress", stage="parity")
        parity = measure_parity(encoder, graph, arguments.gamma)
        emit("parity", **parity.figures())
        check_parity(parity, BOUNDS[arguments.quantization])
        for one in exits:
            at_exit = measure_parity(encoder, graph, arguments.gamma, one["layers"])
            emit("parity", layers=one["layers"], **at_exit.figures())
            check_parity(at_exit, BOUNDS[arguments.quantization])
        copy_tokenizer(encoder.folder, folder)
        manifest = write_manifest(folder, {**_fields(encoder, arguments, parity), "exits": exits})
    emit("done", folder=str(arguments.output / arguments.name / arguments.version), fingerprint=manifest["fingerprint"])


def _fields(encoder: Encoder, arguments: argparse.Namespace, parity: Parity) -> dict[str, Any]:
    """The manifest's fields that are known before the files are hashed."""
    return {
        "name": arguments.name,
        "version": arguments.version,
        "architecture": encoder.architecture,
        "dimensions": encoder.dimensions,
        "matryoshkaDimensions": [],
        "maxTokens": encoder.max_tokens,
        "pooling": {"mode": "ata", "gamma": arguments.gamma},
        "normalize": True,
        "inputs": encoder.input_names,
        "outputs": {"hiddenStates": OUTPUT_NAMES[0], "receivedAttention": OUTPUT_NAMES[1]},
        "padTokenId": encoder.pad_token_id,
        "paddingSide": "right",
        "prompts": _prompts(encoder.folder),
        "quantization": arguments.quantization,
        "batchInvariant": parity.batch_min_cosine >= 0.9999,
        "source": {"origin": arguments.origin, "license": arguments.license, **_calibration(arguments)},
        "evaluation": [{"set": "reference_texts", "metric": key, "value": value}
                       for key, value in parity.figures().items() if key != "texts"],
    }


def _calibration(arguments: argparse.Namespace) -> dict[str, str]:
    """What static int8 was calibrated on, by name: the folder is the exporting machine's affair."""
    if arguments.quantization != "int8":
        return {}
    return {"calibration": ", ".join(path.name for path in arguments.calibration_data or [CALIBRATION_TEXTS])}


def _prompts(folder: Path) -> dict[str, str]:
    """sentence-transformers' prompts; query and document are always there."""
    path = folder / "config_sentence_transformers.json"
    stored = json.loads(path.read_text(encoding="utf-8")).get("prompts", {}) if path.is_file() else {}
    return {"query": "", "document": "", **stored}
