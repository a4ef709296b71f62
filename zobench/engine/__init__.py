"""Engines: how perturbed losses are computed. Estimators never see which one runs; results differ by rounding only.

Light: the names are known without torch, which the class of an engine brings when it is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ..errors import ZobenchError, unknown

if TYPE_CHECKING:
    from .base import Engine

ENGINES: dict[str, str | type[Engine]] = {
    "official": "zobench.engine.official:Official",
    "official_fused": "zobench.engine.official:OfficialFused",
    "flat": "zobench.engine.flat:Flat",
    "deferred": "zobench.engine.deferred:Deferred",
    "pair": "zobench.engine.pair:Pair",
    "streamed": "zobench.engine.streamed:Streamed",
}
"""Each engine by the name a user types: its class, or 'module:Class', imported on first use. All else that is known of
an engine (what it takes, what it does to weights) its class says: see the facts of zobench.engine.base.Engine.
"""
AUTO = "auto"
"""Stands for the engine that the run chooses (`choose`)."""
RESTORES = ("exact", "arithmetic")
PRECISIONS = ("native", "float32")


def engine_class(name: str) -> type[Engine]:
    """The class of the engine of this name, with its facts. ZobenchError for an unknown one."""
    if name not in ENGINES:
        raise ZobenchError(unknown("engine", name, ENGINES))
    entry = ENGINES[name]
    if isinstance(entry, str):
        module, _, attribute = entry.partition(":")
        entry = cast("type[Engine]", getattr(importlib.import_module(module), attribute))
    return entry


def build(name: str, restore: str = "exact", precision: str = "native") -> Engine:
    """The engine of this name. ZobenchError for an unknown name, restore or precision, or one that it does not take."""
    if name == AUTO:
        raise ZobenchError("engine auto is chosen by the run: zobench.engine.choose(...) names one for a model")
    cls = engine_class(name)
    for kind, value, known in (("restore", restore, RESTORES), ("precision", precision, PRECISIONS)):
        if value not in known:
            raise ZobenchError(unknown(kind, value, known))
    return cls(restore, precision)


class EngineChoice(NamedTuple):
    """What `auto` stands for, as it goes into the record."""

    engine: str
    restore: str


def choose(
    scope_numel: int,
    model_numel: int,
    free_bytes: int,
    *,
    layer_numel: int = 0,
    itemsize: int = 2,
    points: int = 2,
    master: bool = False,
    state: int = 0,
) -> EngineChoice:
    """The engine and restore for `auto`.

    pair, if the scope is at most about one decoder block (1.5 times `layer_numel`; when that is not known, a sixteenth
    of the model) and its working copies fit in half of the free memory; else flat, with exact restore if the copy
    of the scope fits in half of the free memory, else arithmetic.

    Args:
        scope_numel, model_numel, layer_numel: entries of the scope, the model, one decoder block.
        free_bytes: memory free on the device, with the model loaded.
        itemsize: bytes of a weight. points: looks a method asks for at once. master: float32 masters are held too.
        state: bytes that the method will keep between steps, of what is free now.
    """
    free_bytes = max(0, free_bytes - state)
    masters = 4 * scope_numel if master else 0
    about_a_layer = scope_numel <= 1.5 * (layer_numel or model_numel / 16)
    if about_a_layer and masters + points * scope_numel * itemsize <= free_bytes / 2:
        return EngineChoice("pair", "exact")
    held = masters or scope_numel * itemsize
    return EngineChoice("flat", "exact" if held <= free_bytes / 2 else "arithmetic")


def __getattr__(name: str) -> Any:
    """The classes of ENGINES by their own names too, and their base, imported on first use."""
    entries = ("zobench.engine.base:Engine", *ENGINES.values())
    for module, _, attribute in (entry.partition(":") for entry in entries if isinstance(entry, str)):
        if attribute == name:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
