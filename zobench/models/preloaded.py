"""Imported for what it imports: what every process that runs cells on a model of the hub's kind needs, and no more.

A model's own module, which each process imports when it reads the model's config, then takes some 10 ms.
"""

from __future__ import annotations

import importlib

from .lightly import lightly

OF_ALL_MODELS = (
    "transformers.models.auto.modeling_auto",
    "transformers.modeling_layers",
    "transformers.modeling_rope_utils",
    "transformers.masking_utils",
    "transformers.generation.utils",
    "transformers.models.auto.tokenization_auto",
    "transformers.tokenization_utils_tokenizers",
    "accelerate.hooks",
)
"""What models of any family are made of."""

with lightly():
    for name in OF_ALL_MODELS:
        importlib.import_module(name)
