"""From a Hugging Face encoder folder to a model version folder that the server runs."""
