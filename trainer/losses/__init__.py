"""Losses over a batch of embeddings: one a file, named by its paper; wrappers take another loss as `inner`."""
