"""What different models and versions of transformers keep under different names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..forwards import CACHES as CACHES


def text_config(owner: Any) -> Any:
    """The config that describes the language model in `owner`, a model or a config: wrappers of a text model with a
    vision or audio tower keep it inside their own.
    """
    config = getattr(owner, "config", owner)
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def model_type(owner: Any) -> str:
    """How transformers calls the text model's architecture; empty for a model without one."""
    return str(getattr(text_config(owner), "model_type", ""))


def goes_on(arguments: Mapping[str, Any]) -> bool:
    """Whether a call with these arguments is given keys and values of earlier tokens, or a place to put them."""
    return any(arguments.get(name) is not None for name in CACHES)
