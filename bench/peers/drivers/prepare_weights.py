"""The model weights as every peer wants them, out of one safetensors file.

usage: prepare_weights.py SOURCE TARGET MAX_TOKENS

SOURCE is a sentence-transformers folder. TARGET gets a copy that reads texts up to MAX_TOKENS, with onnx/model.onnx
(float32, exported by optimum) and onnx/model_quantized.onnx (dynamic int8 with per-channel weights: what
sentence-transformers publishes for a processor like this one).
"""

import json
import platform
import shutil
import sys
from pathlib import Path

from optimum.onnxruntime import ORTModelForFeatureExtraction, ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig


def quantization_config():
    """int8 as sentence-transformers names it for the processor at hand."""
    if platform.machine() in ("arm64", "aarch64"):
        return AutoQuantizationConfig.arm64(is_static=False, per_channel=True)
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    if "avx512_vnni" in flags:
        return AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
    return AutoQuantizationConfig.avx2(is_static=False, per_channel=True)


def read_up_to(folder: Path, max_tokens: int) -> None:
    """Set the longest text in every file that one of the peers takes it from."""
    for name, key in (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        path = folder / name
        config = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**config, key: max_tokens}, indent=2))
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["truncation"] = None
    tokenizer["padding"] = None
    path.write_text(json.dumps(tokenizer, ensure_ascii=False))


def name_a_known_tokenizer(folder: Path) -> None:
    """The trainer's transformers name a class that those of the peers do not know yet; tokenizer.json says all there is."""
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    if config.get("tokenizer_class") == "TokenizersBackend":
        path.write_text(json.dumps({**config, "tokenizer_class": "PreTrainedTokenizerFast"}, indent=2))


def main(source: Path, target: Path, max_tokens: int) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True)
    read_up_to(target, max_tokens)
    name_a_known_tokenizer(target)
    onnx = target / "onnx"
    ORTModelForFeatureExtraction.from_pretrained(target, export=True).save_pretrained(onnx)
    ORTQuantizer.from_pretrained(onnx, file_name="model.onnx").quantize(quantization_config(), save_dir=onnx)
    for file in onnx.iterdir():
        if file.suffix != ".onnx":
            file.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
