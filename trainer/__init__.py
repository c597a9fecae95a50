"""Anchorage's trainer: makes, judges and improves the encoders that the server runs."""

import os

__version__ = "0.1.0"

# onnxruntime's Linux library writes a device id below the home folder and reports its use to its maker, unless this is set before
# the library is loaded. Nothing leaves this machine that nobody asked for; the server does the same for itself.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# oneDNN keeps the kernels that it made, 1,024 of them by default: fewer than training with its many lengths of text meets.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16384")
