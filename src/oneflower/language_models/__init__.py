"""Language models as folders: where they are, what they are by hash, how one is fetched and exported."""

from oneflower.language_models.folders import base_model_folder, cache_folder, fingerprint, is_model

__all__ = ["base_model_folder", "cache_folder", "fingerprint", "is_model"]
