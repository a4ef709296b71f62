"""LOREN, Seung et al. 2026."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from zobench import Buffer, Direction, Estimator, Handle, Losses, NonNegative, Positive, Range, wide

from ..directions.tezo import FOREVER
from ..stacks import mark, refuse_stacks
from .adam import Beta


class LOREN(Estimator):
    """Directions shorter along a learnt vector of each tensor, weighed by how each loss stands to the others'.

    Paper: Low-Rank Curvature for Zeroth-Order Optimization in LLM Fine-Tuning (arXiv:2511.07971), as its code has it.
    Of each tensor a vector a, over its last axis and the same in every row (tiled: A, of the tensor's shape);
    u_k ~ N(0, I), k = 1..K;  s_k = u_k - (1 + sqrt(rho / (rho + |A|^2))) (A . u_k / |A|^2) A, whose covariance is
    I - A A^T / (rho + |A|^2);  f_k = L(theta + eps s_k);  w_k = (f_k - mean f) / (K - 1);
    for k = 1..K:  M <- beta M + w_k s_k / eps;  theta <- theta - lr M  (no momentum on tensors of one axis);
    a <- a - lr_cov w_k eps^2 (sum over rows of D_k) / (K - 1), with D_k the derivative of the log density of s_k by a:
    D_k = [(A . u) u - A - (sqrt(rho) + R) ((A . u)^2 - |A|^2) A / (|A|^2 R)] / R,  R = sqrt(rho + |A|^2).

    A has as many entries as the tensor, of which only one direction is shortened, and the step of a has eps^2: on large
    matrices s_k is u_k to many digits and a stays what it was drawn as. What is left is K one-sided looks weighed
    against each other (RLOO) with a momentum.

    Defaults: queries 6 (K; the released script has 10), damping rho 0.1, lr_cov 1e-3, eps 1e-3 (README), beta 0.9. The
    equations are those of the code (model/glue_transformer_loren.py at b80a32b). Not verified: the paper's text was not
    to be had, and neither K nor the learning rates of its runs are in the code; these are MeZO's. Forwards a step:
    queries; none at theta. State: M, one fp32 value a parameter of matrices, and the change of a, one number an entry
    of the last axis. Weight decay acts on theta once a step, not K times.

    Public code: a moves within the loop over k, so that all but the first direction are moved along with another
    covariance than they were looked along; here a moves after it, by the sum. On tensors of one axis D_k is summed over
    that axis, so that all of a moves by one number; here each entry moves by its own. Decay of a is left out.
    """

    own_directions: ClassVar[str] = "their covariance is learnt"
    reference: ClassVar[str] = "Seung et al. 2026, arXiv:2511.07971"
    public_code: ClassVar[str] = (
        "hseung88/loren (MIT): directions after the first are not those that were looked along; the curvature hardly "
        "changes anything"
    )
    verified: ClassVar[bool | None] = False
    forwards_per_step: ClassVar[int | None] = 6
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 5e-7, 1e-6, 5e-6)
    small_lrs: ClassVar[tuple[float, ...]] = (1e-5, 5e-5)
    moves_along_looks: ClassVar[bool] = False

    eps: Positive = 1e-3
    """How far to look: the looks are at theta + eps times each direction."""
    queries: Annotated[int, Range(ge=2, le=1000)] = 6
    """Directions a step, K."""
    damping: Positive = 0.1
    """rho: the larger, the less a direction is shortened along a."""
    lr_cov: NonNegative = 1e-3
    """Learning rate of a."""
    beta: Beta = 0.9
    """Decay of the momentum, at each direction."""

    def setup(self) -> None:
        refuse_stacks("loren", self.handles, "choose a scope without experts")
        self.m = self.buffer("m", on=several_axes)
        self.moved = self.buffer("moved", shape=last_axis)

    def state_of(self, shape: tuple[int, ...]) -> float:
        return (math.prod(shape) if len(shape) > 1 else 0) + shape[-1]

    def iterate(self, losses: Losses) -> Tensor:
        a = self.noise(shape=last_axis, every=FOREVER, label="a") + self.moved
        us = [self.noise() for _ in range(self.queries)]
        ss = [u - self.lost(u, a) * a for u in us]
        looks = losses(*(self.eps * s for s in ss))
        seen = torch.stack([wide(f) for f in looks])
        weights = ((seen - seen.mean()) / (self.queries - 1)).unbind()
        self.step_along(ss, [w / self.eps for w in weights])
        self.learn(a, us, weights)
        return looks[0]

    def lost(self, u: Direction, a: Direction) -> Buffer:
        """What u loses along A, in lengths of A: one number a tensor."""
        found: dict[str, Tensor] = {}
        for p, one, row in self.each(u, a):
            square = square_of(p, row)
            found[p.name] = (1 + (self.damping / (self.damping + square)).sqrt()) * (row * one).sum() / square
        return self.compute(lambda p: found[p.name], name="lost")

    def step_along(self, ss: list[Direction], slopes: list[Tensor]) -> None:
        """The K moves of the box in one: the momentum takes in one estimate after the other, and is moved along."""
        k, beta, on, off = self.queries, self.beta, mark(self, several_axes), mark(self, one_axis)
        past = sum(beta ** (i + 1) for i in range(k))
        ahead = [sum(beta**i for i in range(k - j)) for j in range(k)]  # how often the j-th is moved along
        along = (x * (on * (c * s)) + off * (c * s) for x, c, s in zip(ahead, slopes, ss, strict=True))
        self.descend(total(along) + past * self.m)
        kept = (beta ** (k - 1 - j) * (on * (c * s)) for j, (c, s) in enumerate(zip(slopes, ss, strict=True)))
        self.m.assign(beta**k * self.m + total(kept))

    def learn(self, a: Direction, us: list[Direction], weights: tuple[Tensor, ...]) -> None:
        """One step of a."""
        for p, row, *ones in self.each(a, *us):
            square, rows = square_of(p, row), tuple(range(p.ndim - 1))
            root = (self.damping + square).sqrt()
            for w, u in zip(weights, ones, strict=True):
                dot = (row * u).sum()
                factor = (math.sqrt(self.damping) + root) * (dot.square() - square) / (square * root)
                d = (dot * u - row - factor * row) / root
                step = d.sum(rows, keepdim=True) if rows else d
                self.moved[p].sub_(self.lr_cov * self.eps**2 * w.to(d) * step)


def last_axis(p: Handle) -> tuple[int, ...]:
    """The shape of a."""
    return (*(1,) * (p.ndim - 1), p.shape[-1])


def several_axes(p: Handle) -> bool:
    """Whether a tensor has a momentum."""
    return p.ndim > 1


def one_axis(p: Handle) -> bool:
    """Whether it has none."""
    return not several_axes(p)


def square_of(p: Handle, row: Tensor) -> Tensor:
    """|A|^2, of a in every row of the tensor."""
    return row.square().sum() * (p.shape.numel() // p.shape[-1])


def total(ds: Iterable[Direction]) -> Direction:
    """Their sum."""
    first, *rest = ds
    return sum(rest, first)
