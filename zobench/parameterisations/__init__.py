"""Parameterisations: in which variables a scope is trained.

    full     its own weights
    lora     low-rank adapters of its projections (zobench.parameterisations.lora)
    prefix   keys and values before those of the text, in its attention modules (zobench.parameterisations.prefix)
    scales   the scales of its linear layers, whose weights are rounded to a few bits (zobench.parameterisations.scales)

A parameterisation is the only thing that changes a model's graph. It is put on and taken off again:

    put = attach("lora", model, scope, seed=0, settings={"r": 8})
    ...                                # train put.scope: the adapters of the scope's target modules
    put.detach()                       # the model as it was, module for module
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import nn

from ..errors import ZobenchError, unknown
from ..scopes.scope import Scope
from ..settings import settings_of
from .lora import LoRA
from .prefix import PrefixTuning
from .scales import QuantisedScales


class Attached(Protocol):
    """A parameterisation that stands on a model."""

    scope: Scope
    """What is trained."""

    def detach(self) -> None:
        """Take it off: every module and every requires_grad flag as before. May be called twice."""


def attach(
    name: str, model: nn.Module, scope: Scope, *, seed: int = 0, settings: Mapping[str, object] | None = None
) -> Attached:
    """Put the parameterisation called `name` on `model`, over `scope`.

    Of `settings` those that are the parameterisation's own are used, so that an estimator's may be given whole.
    `seed` decides what is initialised at random.

    Raises ZobenchError for an unknown name, a value out of its range, or a scope it cannot stand on.
    """
    if name not in PARAMETERISATIONS:
        raise ZobenchError(unknown("parameterisation", name, PARAMETERISATIONS))
    cls = PARAMETERISATIONS[name]
    own = {k: v for k, v in (settings or {}).items() if k in settings_of(cls)}
    return cls(model, scope, seed, **own)


class Full:
    """The weights themselves: the scope unchanged."""

    def __init__(self, model: nn.Module, scope: Scope, seed: int = 0) -> None:
        self.scope = scope

    def detach(self) -> None:
        """Nothing was attached."""


PARAMETERISATIONS: Mapping[str, type[Full | LoRA | PrefixTuning | QuantisedScales]] = {
    "full": Full,
    "lora": LoRA,
    "prefix": PrefixTuning,
    "scales": QuantisedScales,
}
