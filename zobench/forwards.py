"""Modules of a model that run something else for a while, or without those who watch them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

READS_WITHIN = "reads_within"
"""An attribute of a module whose forward reads the parameters of its submodules itself: it is their owner."""
CACHES = ("cache", "past_key_values", "cache_params")
"""The keys and values of earlier tokens, as an argument and in the output of models of different kinds."""


@contextmanager
def replaced(forwards: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """Inside, these modules run these functions as their forward; afterwards what they ran before, be it their class's
    or what another library had put in its place.
    """
    before = {module: module.__dict__.get("forward") for module in forwards}
    for module, forward in forwards.items():
        module.forward = forward
    try:
        yield
    finally:
        for module, old in before.items():
            del module.forward
            if old is not None:
                module.forward = old


@contextmanager
def unwatched(model: nn.Module) -> Iterator[None]:
    """Inside, no forward hook of the model's modules is called; afterwards all are there again, in their order."""
    tables = [table for m in model.modules() for table in (m._forward_hooks, m._forward_pre_hooks) if table]
    kept = [(table, dict(table)) for table in tables]
    for table in tables:
        table.clear()  # in place: who holds a handle to remove a hook holds the table
    try:
        yield
    finally:
        for table, hooks in kept:
            table.update(hooks)
