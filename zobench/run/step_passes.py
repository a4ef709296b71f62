"""What a step of an estimator takes at its settings, counted on a small stack of matrices: passes over its scope's
weights, and forwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..engine.objective import Objective
from ..errors import ZobenchError
from ..estimator.estimator import Estimator
from ..scopes.scope import Scope
from ..settings import settings_of

STEPS = 3
MATRICES = ("ws.0", "ws.1", "ws.2", "ws.3")


class PassesTaken(NamedTuple):
    """Of one step, on average. Zeros where it could not be counted."""

    passes: float
    forwards: float


class _Matrices(nn.Module):
    """Small matrices and a loss that depends on all of them."""

    def __init__(self, count: int) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.ws = nn.ParameterList(torch.randn(6, 6, generator=g) for _ in range(count))

    def forward(self) -> Tensor:
        return torch.stack([w.square().sum() for w in self.ws]).sum()


def passes(cls: type[Estimator], settings: Mapping[str, Any], engine: str, restore: str) -> float:
    """Passes over the weights per step, the mean of three steps.

    For an estimator that needs more of a model than losses: one for each forward pass, and one for the move.
    """
    return _taken(cls, settings, engine, restore).passes or (cls.forwards_per_step or 2) + 1.0


def forwards(cls: type[Estimator], settings: Mapping[str, Any], names: Sequence[str]) -> int:
    """Forwards of a step on its batch, where tensors of these names move: what the class declares at its defaults.

    Counted where it says that they vary, or at other settings. Where they cannot be counted, what it declares, or two.
    """
    usual = all(settings.get(name, one.default) == one.default for name, one in settings_of(cls).items())
    if cls.forwards_per_step is not None and usual:
        return cls.forwards_per_step
    on = MATRICES if cls.forwards_per_step is not None else tuple(names)
    return round(_taken(cls, settings, "flat", "arithmetic", on).forwards) or cls.forwards_per_step or 2


_KNOWN: dict[tuple[str, ...], PassesTaken] = {}


def _taken(
    cls: type[Estimator], settings: Mapping[str, Any], engine: str, restore: str, names: tuple[str, ...] = MATRICES
) -> PassesTaken:
    key = (cls.__module__, cls.__qualname__, str(sorted(settings.items())), engine, restore, *names)
    if key not in _KNOWN:
        _KNOWN[key] = _counted(cls, settings, engine, restore, names)
    return _KNOWN[key]


def _counted(
    cls: type[Estimator], settings: Mapping[str, Any], engine: str, restore: str, names: tuple[str, ...]
) -> PassesTaken:
    model = _Matrices(len(names))

    def more() -> Iterator[None]:
        while True:
            yield None

    objective = Objective(model, lambda forward, _: forward(), None, more(), batched=False)
    steps = STEPS if names == MATRICES else 1
    try:
        named = list(zip(names, model.ws, strict=True))
        made = cls(Scope(named), lr=1e-6, engine=engine, restore=restore, **settings)
        made.step(objective)
        before, seen = made.engine.sweeps, made.forwards.get("train", 0)
        for _ in range(steps):
            made.step(objective)
        return PassesTaken((made.engine.sweeps - before) / steps, (made.forwards.get("train", 0) - seen) / steps)
    except (ZobenchError, TypeError, ValueError, RuntimeError, AttributeError, NotImplementedError):
        return PassesTaken(0.0, 0.0)
