"""Poolings as sentence-transformers modules: token embeddings in, `sentence_embedding` [batch, dimensions] out."""
