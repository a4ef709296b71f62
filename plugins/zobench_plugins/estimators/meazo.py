"""MEAZO, Dbouk et al. 2026."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor

from zobench import Count, Estimator, Losses, Positive, Range, wide


class MEAZO(Estimator):
    """MeZO whose step is divided by a running root mean square of its slopes: Adam's adaptivity, of one number.

    Paper: On Adaptivity in Zeroth-Order Optimization (arXiv:2605.03869): in high dimensions the second moment of a
    zeroth-order gradient is nearly the same on every coordinate, so that one number does for all:
    c_i = [L(theta + eps u_i) - L(theta - eps u_i)] / (2 eps), i = 1..q;  c = mean c_i;
    v <- beta v + (1 - beta) c^2;  vhat = v / (1 - beta^t), t = 1, 2, ...;
    theta <- theta - lr / (sqrt(vhat) + delta) (1/q) sum c_i u_i.

    The paper and its code could not be consulted (`verified` False): the equations are those of a public summary of
    it, which counts t from 2. Unknown are its beta and delta (0.999 and 1e-8 here, Adam's), its learning rates, and its
    grouped variant, which is not offered. u is Gaussian. The step has a root mean square of about lr an entry, whatever
    the slopes are; the grid is the step of FZOO's learning rates (their lr / sqrt(8)).

    Forwards a step: 2 q. State: one number.
    """

    reference: ClassVar[str] = "Dbouk et al. 2026, arXiv:2605.03869"
    public_code: ClassVar[str] = "none found"
    state_per_parameter: ClassVar[float] = 0.0
    forwards_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (1e-6, 3e-6, 1e-5, 3e-5)
    small_lrs: ClassVar[tuple[float, ...]] = (3e-5, 3e-4)
    verified: ClassVar[bool | None] = False

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""
    q: Count = 1
    """Directions a step; it costs 2 q forwards."""
    beta: Annotated[float, Range(ge=0, lt=1)] = 0.999
    """Decay of the mean square of the slope."""
    delta: Positive = 1e-8
    """Added to the root of the mean square."""

    def setup(self) -> None:
        self.first = self.handles[0]  # the one number is kept beside it, whether it moves or not
        self.v = self.buffer("v", shape=lambda p: (), on=lambda p: p is self.first)

    def iterate(self, losses: Losses) -> Tensor:
        us = [self.noise() for _ in range(self.q)]
        ls = losses(*(sign * self.eps * u for u in us for sign in (1, -1)))
        cs = [(lp - lm) / (2 * self.eps) for lp, lm in zip(ls[::2], ls[1::2], strict=True)]
        c = wide(torch.stack(cs)).mean()  # in float16 its square would overflow
        v = self.beta * self.v[self.first].to(c) + (1 - self.beta) * c.square()
        root = (v / (1 - self.beta ** (self.t + 1))).sqrt()
        first, *rest = (ci / (self.q * (root + self.delta)) * u for ci, u in zip(cs, us, strict=True))
        self.descend(sum(rest, first))
        self.v[self.first] = v.to(self.v[self.first])
        return ls[0]
