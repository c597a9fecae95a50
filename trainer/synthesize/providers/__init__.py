"""Who makes a draft of an assignment: an LLM behind a chat endpoint, an LLM on this machine, or the corpus itself."""
