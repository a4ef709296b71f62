"""Imported for what it imports: what every process that runs cells on a model of the hub's kind needs, and no more."""

from __future__ import annotations

import importlib

from .lightly import lightly

WITH_A_MODEL = (
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
    "transformers.models.auto.tokenization_auto",
    "transformers.tokenization_utils_tokenizers",
    "accelerate.hooks",
)
"""The family of models is one of many, and brings most of what the others need."""

with lightly():
    for name in WITH_A_MODEL:
        importlib.import_module(name)
