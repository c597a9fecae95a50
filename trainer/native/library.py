"""bert_layers.cpp, compiled by this machine's own g++ when first used and kept in build/ beside it."""

import ctypes
import hashlib
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from trainer.errors import InputError

SOURCE = Path(__file__).parent / "bert_layers.cpp"
FLAGS = ("-O3", "-march=sapphirerapids", "-std=c++20", "-shared", "-fPIC", "-w")


class Unsupported(InputError):
    """This machine or encoder cannot use the native layers."""


@cache
def library() -> ctypes.CDLL:
    """Raises Unsupported where this machine has no compiler or no AMX."""
    path = _compiled()
    loaded = ctypes.CDLL(str(path))
    loaded.bert_layer_packed.restype = ctypes.c_long
    loaded.bert_arena.restype = ctypes.c_void_p
    if loaded.bert_prepare():
        raise Unsupported("the native layers need a processor with AMX and bfloat16 (Intel Xeon of the fourth generation or newer), and a kernel that lets it be used")
    return loaded


def _compiled() -> Path:
    key = hashlib.sha256(SOURCE.read_bytes() + " ".join(FLAGS).encode()).hexdigest()[:16]
    path = SOURCE.parent / "build" / f"{key}.so"
    if path.is_file():
        return path
    compiler = shutil.which("g++")
    if compiler is None:
        raise Unsupported("the native layers need g++ to be compiled, and there is none on the PATH")
    path.parent.mkdir(exist_ok=True)
    own = path.with_suffix(f".{os.getpid()}")
    done = subprocess.run([compiler, *FLAGS, str(SOURCE), "-o", str(own)], capture_output=True, text=True)
    if done.returncode:
        raise Unsupported(f"the native layers could not be compiled: {(done.stderr.strip() or str(done.returncode)).splitlines()[-1]}")
    own.replace(path)
    return path
