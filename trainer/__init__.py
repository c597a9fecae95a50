"""Anchorage's trainer: makes, judges and improves the encoders that the server runs."""

__version__ = "0.1.0"
