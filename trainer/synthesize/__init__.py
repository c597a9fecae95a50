"""Training data of graded hardness (MGH, arXiv 2509.00842), written by an LLM or mined, grounded in the user's own corpus."""
