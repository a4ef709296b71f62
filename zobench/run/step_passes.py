"""How often a step of an estimator goes over its scope's weights: counted on a small stack of matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..engine.objective import Objective
from ..errors import ZobenchError
from ..estimator.estimator import Estimator
from ..scopes.scope import Scope

STEPS = 3


class _Matrices(nn.Module):
    """Four small matrices and a loss that depends on all of them."""

    def __init__(self) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.ws = nn.ParameterList(torch.randn(6, 6, generator=g) for _ in range(4))

    def forward(self) -> Tensor:
        return torch.stack([w.square().sum() for w in self.ws]).sum()


def passes(cls: type[Estimator], settings: Mapping[str, Any], engine: str, restore: str) -> float:
    """Passes over the weights per step, the mean of three steps.

    For an estimator that needs more of a model than losses: one for each forward pass, and one for the move.
    """
    key = (cls.__module__, cls.__qualname__, str(sorted(settings.items())), engine, restore)
    if key not in _KNOWN:
        _KNOWN[key] = _counted(cls, settings, engine, restore)
    return _KNOWN[key]


_KNOWN: dict[tuple[str, ...], float] = {}


def _counted(cls: type[Estimator], settings: Mapping[str, Any], engine: str, restore: str) -> float:
    model = _Matrices()
    objective = Objective(model, lambda forward, _: forward(), None, batched=False)
    try:
        made = cls(Scope(list(model.named_parameters())), lr=1e-6, engine=engine, restore=restore, **settings)
        made.step(objective)
        before = made.engine.sweeps
        for _ in range(STEPS):
            made.step(objective)
        counted = (made.engine.sweeps - before) / STEPS
    except (ZobenchError, TypeError, ValueError, RuntimeError, AttributeError, NotImplementedError):
        counted = 0.0
    return counted or (cls.forwards_per_step or 2) + 1.0
