"""Training data: read, checked, stored for random access, ordered by hardness, and cut into batches of one source."""
