"""Engines: how perturbed losses are computed. Estimators never see which one runs; results differ by rounding only."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..errors import ZobenchError, unknown
from .base import Engine
from .deferred import Deferred
from .flat import Flat
from .official import Official, OfficialFused
from .pair import Pair
from .streamed import Streamed

ENGINES: dict[str, Callable[[str, str], Engine]] = {
    "official": Official,
    "official_fused": OfficialFused,
    "flat": Flat,
    "deferred": Deferred,
    "pair": Pair,
    "streamed": Streamed,
}
RESTORES = ("exact", "arithmetic")
PRECISIONS = ("native", "float32")


def build(name: str, restore: str = "exact", precision: str = "native") -> Engine:
    """The engine of this name. ZobenchError for an unknown name, restore or precision."""
    if name == "auto":
        raise ZobenchError("engine auto is chosen by the run: zobench.engine.choose(...) names one for a model")
    for kind, value, known in (
        ("engine", name, ENGINES),
        ("restore", restore, RESTORES),
        ("precision", precision, PRECISIONS),
    ):
        if value not in known:
            raise ZobenchError(unknown(kind, value, known))
    return ENGINES[name](restore, precision)


class Choice(NamedTuple):
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
) -> Choice:
    """The engine and restore for `auto`.

    pair, if the scope is at most about one decoder block (1.5 times `layer_numel`; when that is not known, a sixteenth
    of the model) and its working copies fit in half of the free memory; else flat, with exact restore if the copy
    of the scope fits in half of the free memory, else arithmetic.

    Args:
        scope_numel, model_numel, layer_numel: entries of the scope, the model, one decoder block.
        free_bytes: memory free on the device, with the model loaded.
        itemsize: bytes of a weight. points: looks a method asks for at once. master: float32 masters are held too.
    """
    masters = 4 * scope_numel if master else 0
    about_a_layer = scope_numel <= 1.5 * (layer_numel or model_numel / 16)
    if about_a_layer and masters + points * scope_numel * itemsize <= free_bytes / 2:
        return Choice("pair", "exact")
    held = masters or scope_numel * itemsize
    return Choice("flat", "exact" if held <= free_bytes / 2 else "arithmetic")


__all__ = [
    "ENGINES",
    "PRECISIONS",
    "RESTORES",
    "Choice",
    "Deferred",
    "Engine",
    "Flat",
    "Official",
    "OfficialFused",
    "Pair",
    "Streamed",
    "build",
    "choose",
]
