"""QuZO, Zhou et al. 2025."""

from __future__ import annotations

import math
from functools import partial
from operator import is_
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from zobench import Buffer, Count, Direction, Estimator, Handle, Losses, Natural, Positive, Range, matrices


def uniform(x: Tensor) -> Tensor:
    """Of N(0, 1) entries: entries uniform on (0, 1)."""
    return 0.5 * (1 + torch.erf(x / math.sqrt(2)))


class QuZO(Estimator):
    """Looks and moves along two independent roundings of one Gaussian direction, and weights that stay on a grid.

    Paper: QuZO: Quantized Zeroth-Order Fine-Tuning for Large Language Models (arXiv:2502.12346).  z_i ~ N(0, I),
    i = 1..q; u_i and v_i are z_i rounded to `bits` bits at random, up or down with the chances that keep the mean,
    independently of each other;  c_i = [L(theta + eps u_i) - L(theta - eps u_i)] / (2 eps);
    theta <- theta - sum_i Q(lr c_i v_i / q),  Q rounding at random to the grid of the weights.  With one rounding for
    both, c u would have the square of its errors in the mean.

    A direction's grid has its tensor's largest entry at its end. `weight_bits`: when they may first move matrices are
    rounded to the nearest of 2^(bits - 1) - 1 levels on each side of 0, one grid a tensor, and stay on it, except that
    looks leave it; 0: weights are left as they are, and Q does nothing. Weights stand in the dtype of the model all
    the same: what is measured is the method, not its memory; and a board's zero-shot score is that of the model before.

    Defaults: bits 4, weight_bits 8, q 1, eps 1e-3 (released script). Read were a summary of the paper's equations and
    the released code; the grids are ours (`verified` False). Learning rates: MeZO's and the released 1e-5. Forwards a
    step: 2 q. State: one number a matrix. Weight decay is left out where weights have a grid.

    Public code: looks do not displace the weights (the displaced codes are computed and dropped), and a mask leaves out
    99 % of a direction; not followed.
    """

    reference: ClassVar[str] = "Zhou et al. 2025, arXiv:2502.12346"
    public_code: ClassVar[str] = (
        "jmha02/QuZO (MIT), said to be the authors': its looks leave the weights alone; 99 % of a direction is masked"
    )
    verified: ClassVar[bool | None] = False
    forwards_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 1e-6, 1e-5)
    small_lrs: ClassVar[tuple[float, ...]] = (1e-4, 5e-4)
    moves_along_looks: ClassVar[bool] = False

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""
    bits: Annotated[int, Range(ge=2, le=16)] = 4
    """Of an entry of a direction."""
    weight_bits: Annotated[Natural, Range(ge=0, le=16)] = 8
    """Of a weight of a matrix; 0: weights have no grid."""
    q: Count = 1
    """Directions a step; it costs 2 q forwards."""

    def setup(self) -> None:
        bits = self.weight_bits  # not self: buffers may not keep their estimator alive
        self.grid = self.buffer(
            "grid", init=lambda p: grid_of(p.data, bits), shape=lambda p: (), on=gridded if bits else never
        )

    def state_of(self, shape: tuple[int, ...]) -> float:
        return 1.0 if self.weight_bits and len(shape) == 2 else 0.0

    def rounded(self, z: Direction, step: Buffer, label: str) -> Direction:
        """Z rounded at random to multiples of `step`, one number a tensor."""
        return (z / step + self.noise(label=label).map(uniform)).map(torch.floor) * step

    def step_of(self, z: Direction) -> Buffer:
        """The spacing of a direction's grid, of each tensor."""
        found = {p.name: grid_of(x, self.bits) for p, x in self.each(z)}
        return self.compute(lambda p: found[p.name], on=lambda p: p.name in found, name="spacing")

    def iterate(self, losses: Losses) -> Tensor:
        if self.weight_bits:
            self.round_weights()
        shown, moves = None, []
        for _ in range(self.q):
            z = self.noise()
            step = self.step_of(z)
            u, v = self.rounded(z, step, "u"), self.rounded(z, step, "v")
            lp, lm = losses(+self.eps * u, -self.eps * u)
            shown = lp if shown is None else shown
            moves.append((lp - lm) / (2 * self.eps * self.q) * v)
        for g in moves:
            self.step_along(g)
        assert shown is not None, "q is at least 1"
        return shown

    def round_weights(self) -> None:
        """Matrices that may move for the first time to the nearest level, one by one: no second copy of them all."""
        for one in (p for p in self.active if gridded(p) and p not in self.grid):
            self.move(self.compute(self.to_level, on=partial(is_, one), name="to_level"))

    def to_level(self, p: Handle) -> Tensor:
        """What is missing to the nearest level."""
        return (p.data / self.grid[p]).round() * self.grid[p] - p.data

    def step_along(self, g: Direction) -> None:
        """The move Q(lr g)."""
        if not self.weight_bits:
            self.descend(g)
            return
        on = self.compute(lambda p: torch.ones((), dtype=p.dtype, device=p.param.device), on=gridded, name="on")
        off = self.compute(lambda p: torch.ones((), dtype=p.dtype, device=p.param.device), on=loose, name="off")
        delta = self.descent(g)
        self.move(
            (on * delta / self.grid + self.noise(label="q").map(uniform)).map(torch.floor) * self.grid + off * delta
        )


def grid_of(x: Tensor, bits: int) -> Tensor:
    """The spacing of 2^(bits - 1) - 1 levels on each side of 0, up to the largest entry: 0-dim; of zeros 1."""
    largest = x.abs().amax()
    spacing: Tensor = torch.where(largest > 0, largest, 1.0) / (2 ** (bits - 1) - 1)
    return spacing


def gridded(p: Handle) -> bool:
    """Whether a tensor's weights have a grid."""
    return matrices(p)


def loose(p: Handle) -> bool:
    """Whether they have none."""
    return not gridded(p)


def never(p: Handle) -> bool:
    """No tensor."""
    return False
