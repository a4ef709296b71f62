"""How far back attention looks, from the windows and chunks in a model's config and modules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ZobenchError
from .text import text_config

if TYPE_CHECKING:
    from .subject import Subject

_NAME = re.compile(r"((local|sliding|attention|attn)_)*(window(_size|_length)?|(local|attention|attn)_chunk(_size)?)")
_OTHER = {"local_attention"}
_WHOLE = {"full_attention", "attention", "linear_attention", "mamba", "mamba2", "conv", "moe", "recurrent"}
"""Kinds of layers without a window, as `layer_types` of a config names them."""


def window(loaded: Subject) -> int | None:
    """The shortest attention window of any layer, in tokens; None if every layer attends to all earlier tokens.

    Read from the config of the text model, with its `layer_types` if it has them, and from attributes of the modules of
    its decoder blocks. Chunks count as windows.
    """
    config = text_config(loaded.model)
    layers = getattr(config, "layer_types", None)
    if isinstance(layers, list | tuple) and layers and set(map(str, layers)) <= _WHOLE:
        return None
    found = [*_said_in(getattr(config, "__dict__", {}))]
    try:
        modules = [module for block in loaded.blocks for module in block.module.modules()]
    except ZobenchError:  # no blocks are found
        modules = list(loaded.model.modules())
    for module in modules:
        found += _said_in(vars(module))
    return min(found, default=None)


def _said_in(attributes: Mapping[str, Any]) -> Iterator[int]:
    for name, value in attributes.items():
        said = name in _OTHER or _NAME.fullmatch(name)
        if said and isinstance(value, int) and not isinstance(value, bool) and value > 0:
            yield value
