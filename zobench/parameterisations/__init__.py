"""Parameterisations: in which variables a scope is trained.

    full     its own weights
    lora     low-rank adapters of its projections (zobench.parameterisations.lora)
    prefix   keys and values before those of the text, in its attention modules (zobench.parameterisations.prefix)
    prompt   embeddings before those of the text, through all blocks (zobench.parameterisations.prompt)
    scales   the scales of its linear layers, whose weights are rounded to a few bits (zobench.parameterisations.scales)

A parameterisation is the only thing that changes a model's graph. Light: the names are known without torch. It is put
on and taken off again:

    put = attach("lora", model, scope, seed=0, settings={"r": 8})
    ...                                # train put.scope: the adapters of the scope's target modules
    put.detach()                       # the model as it was, module for module
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import ZobenchError, unknown
from ..settings import settings_of

if TYPE_CHECKING:
    from torch import nn

    from ..scopes.scope import Scope

PARAMETERISATIONS: dict[str, str | type] = {
    "full": "zobench.parameterisations:Full",
    "lora": "zobench.parameterisations.lora:LoRA",
    "prefix": "zobench.parameterisations.prefix:PrefixTuning",
    "prompt": "zobench.parameterisations.prompt:PromptTuning",
    "scales": "zobench.parameterisations.scales:QuantisedScales",
}
"""Each parameterisation by the name a user types: its class, or 'module:Class', imported on first use."""
OF_THE_ESTIMATOR = "estimator"
"""Stands for the one that the estimator declares."""


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
    cls: Any = PARAMETERISATIONS[name]
    if isinstance(cls, str):
        module, _, attribute = cls.partition(":")
        cls = getattr(importlib.import_module(module), attribute)
    own = {k: v for k, v in (settings or {}).items() if k in settings_of(cls)}
    made: Attached = cls(model, scope, seed, **own)
    return made


class Full:
    """The weights themselves: the scope unchanged."""

    def __init__(self, model: nn.Module, scope: Scope, seed: int = 0) -> None:
        self.scope = scope

    def detach(self) -> None:
        """Nothing was attached."""
