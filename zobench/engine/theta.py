"""Theta held outside the parameters while they stand displaced: copies for exact restore, or float32 masters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..directions.handle import Handle
from .base import Value, plus


class Held:
    """Where theta is, tensor by tensor.

    wide=False: a copy in the parameter's dtype, made when the tensor is first displaced after a rest, so that changes
    from outside between steps are seen. wide=True: a float32 master of every narrower tensor, which lasts; when the
    parameter was changed from outside (load_state_dict, copy_, a new .data) the master is read again from it.
    """

    def __init__(self, wide: bool) -> None:
        self._wide = wide
        self._store: dict[str, Tensor] = {}
        self._out: set[str] = set()  # tensors whose parameter is not theta
        self._stamps: dict[str, tuple[int, int]] = {}

    def theta(self, p: Handle) -> Tensor:
        """Theta of one tensor, not to be changed."""
        if self._mastered(p):
            return self._master(p)
        return self._store[p.name] if p.name in self._out else p.raw

    def show(self, p: Handle, v: Value | None) -> None:
        """Put the parameter at theta + v (None: at theta)."""
        if v is None:
            self.back(p)
            return
        if self._mastered(p):
            base = self._master(p)
        elif p.name in self._out:
            base = self._store[p.name]
        else:
            base = self._copy(p)
            base.copy_(p.raw)
        self._out.add(p.name)
        plus(p, base, v, p.raw)

    def show_together(self, run: Sequence[Handle], values: list[Tensor]) -> None:
        """As `show` for several tensors of one dtype."""
        if any(self._mastered(p) for p in run):
            for p, v in zip(run, values, strict=True):
                self.show(p, v)
            return
        self._raws_at_theta(run)
        fresh = [p for p in run if p.name not in self._out]
        if fresh:
            torch._foreach_copy_([self._copy(p) for p in fresh], [p.raw for p in fresh])
        self._out.update(p.name for p in run)
        torch._foreach_add_([p.raw for p in run], values)

    def add_together(self, run: Sequence[Handle], values: list[Tensor]) -> None:
        """As `add` for several tensors of one dtype."""
        if any(self._mastered(p) for p in run):
            for p, v in zip(run, values, strict=True):
                self.add(p, v)
            return
        self._raws_at_theta(run)
        torch._foreach_add_([p.raw for p in run], values)

    def _raws_at_theta(self, run: Sequence[Handle]) -> None:
        out = [p for p in run if p.name in self._out]
        if out:
            torch._foreach_copy_([p.raw for p in out], [self._store[p.name] for p in out])

    def back(self, p: Handle) -> None:
        """Put the parameter at theta."""
        if p.name in self._out:
            p.raw.copy_(self._store[p.name])
            self._out.discard(p.name)

    def add(self, p: Handle, v: Value) -> None:
        """Move theta <- theta + v, and the parameter with it. When the sweep is over, call `rest`."""
        if self._mastered(p):
            master = self._master(p)
            p.raw.copy_(plus(p, master, v, master))
        elif p.name in self._out:
            plus(p, self._store[p.name], v, p.raw)
        else:
            plus(p, p.raw, v, p.raw)

    def take_back(self, p: Handle, v: Value) -> None:
        """Undo an `add` of -v before `rest`: exact where a copy of theta is held, else by arithmetic."""
        if p.name in self._out and not self._mastered(p):
            p.raw.copy_(self._store[p.name])
        else:
            self.add(p, v)

    def rest(self) -> None:
        """Every parameter is theta."""
        self._out.clear()

    def advance(self, p: Handle, v: Value) -> None:
        """Move theta <- theta + v; a displaced parameter stays where it stands."""
        if self._mastered(p):
            master = self._master(p)
            plus(p, master, v, master)
            self._out.add(p.name)
        else:
            theta = self._store[p.name] if p.name in self._out else p.raw
            plus(p, theta, v, theta)

    def refresh(self, handles: Sequence[Handle]) -> None:
        """Read again the masters of parameters that were changed from outside."""
        if self._wide:
            for p in handles:
                if self._mastered(p):
                    self._master(p)

    def load(self, handles: Sequence[Handle], masters: Mapping[str, Tensor]) -> None:
        """Take these masters; the parameters must hold their rounded values, or the next refresh drops them."""
        for p in handles:
            if p.name in masters and self._mastered(p):
                self._store[p.name] = masters[p.name].to(p.param.device, p.dtype, copy=True)
                p.master = self._store[p.name]
                self._stamps.pop(p.name, None)

    def nbytes(self) -> int:
        """Bytes held."""
        return sum(t.numel() * t.element_size() for t in self._store.values())

    def _copy(self, p: Handle) -> Tensor:
        c = self._store.get(p.name)
        if c is None or c.shape != p.shape or c.dtype != p.param.dtype or c.device != p.param.device:
            c = self._store[p.name] = torch.empty_like(p.raw)
        return c

    def _mastered(self, p: Handle) -> bool:
        return self._wide and p.param.dtype != p.dtype

    def _master(self, p: Handle) -> Tensor:
        w = self._store.get(p.name)
        if w is None:
            w = self._store[p.name] = p.master = p.raw.to(p.dtype)
        elif p.name not in self._out:
            now = (p.param._version, p.raw.data_ptr())
            if self._stamps.get(p.name) != now:
                if not torch.equal(p.raw, w.to(p.param.dtype)):
                    w.copy_(p.raw)
                self._stamps[p.name] = now
        return w
