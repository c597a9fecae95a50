"""manifest.json of a model version folder: what the server needs to know and the hashes it checks."""

import hashlib
import json
from pathlib import Path
from typing import Any

from trainer import __version__

SCHEMA_VERSION = 1
# Files the server reads; README.md and LICENSE are for people and are not hashed.
HASHED_NAMES = ("model.onnx", "model.onnx_data", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json")


def file_entries(folder: Path) -> dict[str, dict[str, Any]]:
    """SHA-256 and size in bytes of each hashed file in `folder`."""
    entries = {}
    for name in HASHED_NAMES:
        path = folder / name
        if path.is_file():
            content = path.read_bytes()
            entries[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    return entries


def fingerprint(files: dict[str, dict[str, Any]], pooling: dict[str, Any], normalize: bool, max_tokens: int) -> str:
    """What decides an embedding: the files, the pooling, normalization and truncation. Vectors of two fingerprints never mix."""
    gamma = f"{pooling['gamma']:.6f}" if pooling["mode"] == "ata" else "-"
    lines = [f"file:{name}:{files[name]['sha256']}" for name in sorted(files)]
    lines += [f"pooling:{pooling['mode']}:{gamma}", f"normalize:{'true' if normalize else 'false'}", f"maxTokens:{max_tokens}"]
    return hashlib.sha256("".join(line + "\n" for line in lines).encode()).hexdigest()


def write_manifest(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """Complete `fields` with hashes and fingerprint and write `folder`/manifest.json; returns the manifest.

    `fields` has every key of the contract but schemaVersion, files and fingerprint; "exits" only where there are some.
    """
    files = file_entries(folder)
    manifest = {
        "schemaVersion": SCHEMA_VERSION,
        **{key: fields[key] for key in (
            "name", "version", "architecture", "dimensions", "matryoshkaDimensions", "maxTokens", "pooling", "normalize",
            "inputs", "outputs", "padTokenId", "paddingSide", "prompts", "quantization", "batchInvariant")},
        **({"exits": fields["exits"]} if fields.get("exits") else {}),
        "files": files,
        "fingerprint": fingerprint(files, fields["pooling"], fields["normalize"], fields["maxTokens"]),
        "source": {**fields["source"], "tool": f"trainer export {__version__}"},
        "evaluation": fields["evaluation"],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return manifest
