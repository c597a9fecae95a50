"""How every pooling of ours is saved and loaded: config.json for people, the weights file for exact numbers.

A saved model carries this file beside its pooling's own, so it imports nothing of the trainer.
"""

from typing import Any, Self

from sentence_transformers.base.modules.module import Module

HUB_OPTIONS = ("token", "cache_folder", "revision", "local_files_only")


class SavedPooling(Module):
    """Subclasses name the arguments of their constructor in `config_keys` and hold them as attributes."""

    embedding_dimension: int

    def get_embedding_dimension(self) -> int:
        return self.embedding_dimension

    def save(self, output_path: str, *_: Any, safe_serialization: bool = True, **__: Any) -> None:
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **options: Any) -> Self:
        hub = {key: options[key] for key in HUB_OPTIONS if key in options}
        pooling = cls(**cls.load_config(model_name_or_path, subfolder=subfolder, **hub))
        return cls.load_torch_weights(model_name_or_path, subfolder=subfolder, model=pooling, **hub)
