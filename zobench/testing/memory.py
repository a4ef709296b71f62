"""V6: how many bytes of tensors a step holds beyond the weights and the declared state."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..estimator.estimator import Estimator
from ..scopes.scope import Scope
from .expect import NotApplicable, expect
from .watch import Noting

TENSORS, SIDE = 40, 24


class _Stack(nn.Module):
    """Equal square matrices, and a loss that depends on all of them and makes no large tensor."""

    def __init__(self) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.ws = nn.ParameterList(torch.randn(SIDE, SIDE, generator=g) for _ in range(TENSORS))

    def forward(self) -> Tensor:
        return torch.stack([w[0, :2].sum() for w in self.ws]).square().sum()


class Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of storages made while it is active and still alive: now, and at most so far.

    Those of the tensors `known`, and their views, do not count.
    """

    def __init__(self, *known: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known = {t.untyped_storage()._cdata for t in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for t in out if isinstance(out, tuple | list) else (out,):
            if isinstance(t, Tensor):
                self._note(t.untyped_storage())
        return out

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def check_memory(cls: type[Estimator], settings: Mapping[str, Any]) -> str:
    """V6: in place (engine flat, arithmetic restore) a step holds its state and a few single tensors.

    The scope is 40 equal tensors; the bound is the declared state and three quarters of a further copy of the scope,
    which leaves room for masks of a byte an entry, and for several draws of one tensor, not for stored directions (the
    engine keeps no noise here, and takes tensors one by one: both are bounded, and not by the scope).
    """
    model = _Stack()
    named = list(model.named_parameters())
    objective = Noting(
        model, lambda forward, _: forward(), None, itertools.repeat(None), batched=False, examples=lambda _: [None] * 3
    )
    opt = cls(Scope(named), lr=1e-6, engine="flat", restore="arithmetic", **settings)
    opt.engine.drawn_bytes = opt.engine.entries_together = 0

    with Live(*(p for _, p in named)) as live:
        opt.step(objective)
        opt.step(objective)
    if opt.forwards.get("backward"):
        raise NotApplicable("backpropagation keeps gradients and activations")
    if objective.duals:
        raise NotApplicable("forward mode keeps a whole direction and the tangents of activations")
    one = SIDE * SIDE * 4
    state = opt.state_of((SIDE, SIDE)) / SIDE**2 * TENSORS
    beyond = live.peak / one - state
    expect(
        beyond < 0.75 * TENSORS,
        f"a step holds {beyond:.0f} tensors beyond weights and declared state, of a scope of {TENSORS}: "
        "something of the size of the scope is kept",
    )
    return f"{beyond:.0f} single tensors beyond the declared state"
