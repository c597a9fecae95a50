"""A model version folder appears whole or not at all.

1. everything is written into a hidden folder beside the final one; 2. its hashes are taken and manifest.json is written
last; 3. one rename makes it visible. A folder that is there already is never touched: versions are immutable.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from trainer.errors import InputError

NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,99}$")


@contextlib.contextmanager
def new_version_folder(output: Path, name: str, version: str) -> Iterator[Path]:
    """Yield an empty folder that becomes `output`/`name`/`version` if the block ends without an exception."""
    for word, value in (("name", name), ("version", version)):
        if not NAME.match(value):
            raise InputError(f"--{word} {value!r} must match {NAME.pattern}")
    final = output / name / version
    if final.exists():
        raise InputError(f"{final} exists already and model versions never change: choose another --version")
    staging = final.parent / f".{version}.{os.getpid()}"
    staging.mkdir(parents=True)
    try:
        yield staging
        staging.rename(final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copy the tokenizer's files; truncation and padding are taken out, for the server decides both itself."""
    tokenizer = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["truncation"] = tokenizer["padding"] = None
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    if not (folder / "tokenizer_config.json").is_file():
        raise InputError(f"{source} has no tokenizer_config.json: save the model with its fast tokenizer (save_pretrained)")
