"""AdaMeZO, Cai et al. 2026."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from zobench import Direction, Estimator, Losses, Positive, Range

Beta = Annotated[float, Range(ge=0, lt=1)]


class AdaMeZO(Estimator):
    """Adam's two moments over a window of the last h looks, drawn again from their seeds instead of stored.

    Paper: AdaMeZO (arXiv:2605.00650): c_t = [L(theta + eps z_t) - L(theta - eps z_t)] / (2 eps);  g_t = c_t z_t;
    m = (1 - beta1) sum_{k<h} beta1^k g_{t-k};  v = (1 - beta2) sum_{k<h} beta2^k g_{t-k}^2, entry by entry;
    theta <- theta - lr m / sqrt(v + delta^2).
    There is no bias correction. A tensor that rested in a step of the window has no g of it; beta2 = 0 leaves g_t^2.

    Defaults: h 10, beta1 0.7, beta2 0.9, delta 1e-5, eps 1e-3 (released code). The paper could not be consulted beyond
    its abstract and a public summary of its equations; the size of its delta is unknown, and here is the code's
    (`verified` False). The root mean square of the step is about 0.35 lr an entry; the released lr, 1e-7, is that of
    form="released", and acts as 1e-5 does here. The grid goes from a tenth of that to five times it.

    Forwards a step: 2. Directions drawn for the move: h. State: h numbers.

    Public code: form="released" has no factors (1 - beta) but 100 before the step, delta beside the root, and moves
    as MeZO for the first h + 1 steps, since its counter, 0 in the first, is compared with <= h. The code also gathers m
    and v in the dtype of the model, where in float16 c^2 z^2 overflows for c above 65; here they are at least fp32.
    """

    reference: ClassVar[str] = "Cai et al. 2026, arXiv:2605.00650"
    public_code: ClassVar[str] = (
        "shawnnn3di/AdaMeZO (no licence): no factors (1 - beta) but 100; moments in the model's dtype overflow in "
        "float16"
    )
    state_per_parameter: ClassVar[float] = 0.0
    forwards_per_step: ClassVar[int | None] = 2
    directions_per_step: ClassVar[int | None] = None
    recalls: ClassVar[bool] = True
    lr_grid: ClassVar[tuple[float, ...]] = (1e-6, 5e-6, 1e-5, 5e-5)
    small_lrs: ClassVar[tuple[float, ...]] = (1e-4, 1e-3)
    verified: ClassVar[bool | None] = False
    numerics: ClassVar[int] = 2  # it moved as MeZO for h steps before
    numerics_where: ClassVar[Mapping[str, object]] = {"form": "released"}
    exercise: ClassVar[Mapping[str, object]] = {"h": 3}
    moves_along_looks: ClassVar[bool] = False

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""
    h: Annotated[int, Range(ge=1, le=65)] = 10
    """Looks in the window, the present one counted."""
    beta1: Beta = 0.7
    """Decay of the first moment."""
    beta2: Beta = 0.9
    """Decay of the second moment."""
    delta: Positive = 1e-5
    """What the root is at least."""
    form: Literal["paper", "released"] = "paper"
    """The step of the paper or of the released code (see above)."""

    def setup(self) -> None:
        self.first = self.handles[0]  # the slopes are kept beside it, whether it moves or not
        self.slopes = self.buffer("slopes", shape=lambda p: (self.h,), on=lambda p: p is self.first)

    def iterate(self, losses: Losses) -> Tensor:
        z = self.noise()
        lp, lm = losses(+self.eps * z, -self.eps * z)
        c = (lp - lm) / (2 * self.eps)
        old = self.slopes[self.first]
        window = torch.cat([c.to(old.dtype)[None], old[:-1].to(c.device)])  # the newest first
        if self.form == "released" and self.t <= self.h:
            self.descend(c * z)
        else:
            gs = (window[k] * (self.noise(ago=k) if k else z) for k in range(min(self.h, self.t + 1)))
            first, *rest = (self.both(g, k) for k, g in enumerate(gs))
            self.descend(self.step_of(sum(rest, first)))
        self.slopes[self.first] = window.to(old.device)
        return lp

    def both(self, g: Direction, k: int) -> Direction:
        """The terms of m and v that the look k steps ago gives, beside each other: one draw, and no more, is held."""
        paper = self.form == "paper"
        a = self.beta1**k * (1 - self.beta1 if paper else 1)
        b = self.beta2**k * (1 - self.beta2 if paper else 1)
        return g.map(lambda x: beside(x, a, b))

    def step_of(self, both: Direction) -> Direction:
        """The step: m over the root of v."""
        delta = self.delta
        if self.form == "paper":
            return both.map(lambda mv: mv[0] / (mv[1] + delta**2).sqrt())
        return 100 * both.map(lambda mv: mv[0] / (mv[1].sqrt() + delta))


def beside(x: Tensor, a: float, b: float) -> Tensor:
    """(2, ...): a x and b x^2."""
    out = x.new_empty((2, *x.shape))
    torch.mul(x, a, out=out[0])
    torch.mul(x, x, out=out[1]).mul_(b)
    return out
