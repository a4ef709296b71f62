"""What an engine is: it computes losses at points and makes moves. It never changes the mathematics, only rounding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from ..directions.algebra import Direction
from ..directions.buffer import Buffer
from ..directions.handle import Handle
from ..directions.nodes import Drawn
from ..directions.piecewise import Uncomputed
from ..directions.shapes import fits
from ..directions.together import MOST
from ..errors import ZobenchError
from ..timers import Timers

Closure: TypeAlias = Callable[[], Tensor]
Group: TypeAlias = dict[str, Any]
Value: TypeAlias = Tensor | Uncomputed
"""A direction on one tensor: computed, or to be drawn where it is added."""

DRAWN_BYTES = 2**30
"""What engines keep of a step's noise on a CPU, at most."""
DRAWN_BYTES_OF_A_GPU = 2**26
"""On a GPU, where memory is short: no more than shows beside the weights of a model that fills it."""
_NO_DECAY = ("bias", "layer_norm", "layernorm")


class Engine:
    """Base of all engines. Estimators call these, in this order in a step: attach, (losses | move | ...)*, end_step.

    Attributes:
        name: as the user types it. restore: exact | arithmetic, and precision: native | float32: what holds.
        handles: the tensors of the present step. sweeps: passes over the scope's weights made so far.
        drawn: the noise of the present step, drawn once where it fits in `drawn_bytes`.
        entries_together: of small tensors of a CPU that are displaced at once; 0: one tensor after the other.

    The facts below are all that others know of an engine: checks of settings, help, records and docs derive from them.
    """

    name: ClassVar[str] = ""
    """As in zobench.engine.ENGINES."""
    restores: ClassVar[tuple[str, ...]] = ("exact", "arithmetic")
    """How it can bring weights back; where there is one way, that holds whatever is asked."""
    precisions: ClassVar[tuple[str, ...]] = ("native", "float32")
    """What it can hold theta in: the weights' own dtype, or float32 masters."""
    one_order: ClassVar[bool] = True
    """It draws noise tensor by tensor in the scope's order: False, as modules run, so no noise that is one stream."""
    together: ClassVar[bool] = False
    """It looks at the points of a call in one forward, where the objective is `batched`."""
    replaces_weights: ClassVar[bool] = False
    """At a point modules run on tensors other than their parameters, so their blocks are not compiled."""
    compiles: ClassVar[bool] = True
    """Decoder blocks may be compiled under it; False: it keeps the model's own arithmetic."""
    captures: ClassVar[bool] = True
    """Losses may be replayed as CUDA graphs under it: it moves weights where they lie, or looks at copies that lie
    where the last ones lay, and shows none while modules run.
    """
    replicates_rows: ClassVar[bool] = False
    """Forwards pass over MeZO's rows, each candidate's whole, whatever the model could do."""
    prefix_cache: ClassVar[bool] = True
    """Forwards may begin at the lowest block that moves."""

    def __init__(self, restore: str, precision: str) -> None:
        if precision not in self.precisions:
            raise ZobenchError(f"engine {self.name} knows precision {either(self.precisions)} only, not {precision}")
        self.restore, self.precision = self.restored(restore), precision
        self.handles: Sequence[Handle] = ()
        self.timers = Timers(torch.device("cpu"))
        self.sweeps = 0
        self.drawn, self.drawn_bytes = Drawn(), DRAWN_BYTES
        self.entries_together = MOST

    @classmethod
    def restored(cls, asked: str) -> str:
        """The way in which it brings weights back where this one (or `auto`) was asked for."""
        return cls.restores[0] if len(cls.restores) == 1 else asked

    @property
    def at_rest(self) -> bool:
        """Whether the parameters hold theta as they stand: `settle` would change no bit."""
        return False

    def attach(self, handles: Sequence[Handle]) -> None:
        """A step begins on these tensors. If they or their masks changed, `settle` was called before."""
        self.handles = handles
        room = min(drawn_room(device) for device in {p.param.device for p in handles})
        self.drawn.begin(handles, min(self.drawn_bytes, room))

    def losses(self, closure: Closure | None, points: Sequence[Direction]) -> list[Tensor]:
        """The losses at theta + point for each point, in order.

        closure None: a replay. Nothing is evaluated and nothing returned, but weights are rounded as if it were.
        """
        raise NotImplementedError

    def move(self, delta: Direction) -> None:
        """Make the move theta <- theta + delta."""
        raise NotImplementedError

    def descend(self, grad: Direction) -> None:
        """Make the move theta <- theta - lr * (grad + wd * theta), lr and wd by group."""
        raise NotImplementedError

    def settle(self) -> None:
        """From here on the parameters hold theta."""
        raise NotImplementedError

    def abandon(self) -> None:
        """A step failed: put the parameters at theta whatever else is wrong."""
        self.settle()
        self.drawn.clear()

    def end_step(self) -> None:
        """A step is over; an engine that defers may leave the parameters displaced."""
        self.settle()
        self.drawn.end()

    def before_write(self, buffer: Buffer) -> None:
        """A buffer that the present displacement may be made of is about to change."""
        raise NotImplementedError

    def held_bytes(self) -> int:
        """Bytes held now: copies and masters, which last, and within a step its noise."""
        return self.drawn.nbytes()

    def load_masters(self, handles: Sequence[Handle], masters: Mapping[str, Tensor]) -> None:
        """Go on with these float32 masters (name -> tensor), saved with a state."""


def drawn_room(device: torch.device) -> int:
    """Bytes of a step's noise that engines keep at most, where weights lie on this device."""
    return DRAWN_BYTES if device.type == "cpu" else DRAWN_BYTES_OF_A_GPU


def either(names: Sequence[str]) -> str:
    """`a`, or `a or b`, for a sentence."""
    return " or ".join(names)


def decays(p: Handle) -> bool:
    """Whether weight decay is for this tensor: not if its name has bias, layer_norm or layernorm (MeZO, trainer.py)."""
    return not any(s in p.name for s in _NO_DECAY)


def decay(p: Handle) -> float:
    """The weight decay of one tensor: its group's, where it has any."""
    return float(p.group["weight_decay"]) if decays(p) else 0.0


def plus(p: Handle, base: Tensor, v: Value, out: Tensor) -> Tensor:
    """Make out = base + v on one tensor, rounded once to out's dtype; out may be base."""
    if not isinstance(v, Tensor):
        return v.onto(base, out)
    v = fitted(p, v)
    return out.add_(v) if out is base else torch.add(base, v, out=out)


def fitted(p: Handle, v: Tensor) -> Tensor:
    """`v` in the shape of the tensor, -0.0 where its mask forbids moving: x + (-0.0) is x, bit for bit."""
    if v.shape != p.shape:
        if not fits(tuple(v.shape), tuple(p.shape)):
            raise ValueError(f"a displacement of {p!r} has shape {tuple(v.shape)}")
        v = v.expand(p.shape)
    return v if p.mask is None else torch.where(p.mask, v, -0.0)
