"""HiZOO-L, Zhao et al. 2024: HiZOO with little memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from zobench import Losses, matrices, vectors, wide

from ..stacks import refuse_stacks
from .hizoo import HiZOO


def row_means(x: Tensor) -> Tensor:
    """(m, n) to (m, 1)."""
    return x.mean(1, keepdim=True)


def column_means(x: Tensor) -> Tensor:
    """(m, n) to (n, 1)."""
    return x.mean(0)[:, None]


class HiZOOL(HiZOO):
    """HiZOO whose curvature H is, on matrices, the product of a column and a row.

    Paper: Second-Order Fine-Tuning without Pain for LLMs (arXiv:2402.15173), HiZOO-L. Directions, h and the move are
    HiZOO's; of H are kept the means of its rows and of its columns, as Adafactor keeps its second moment (Shazeer and
    Stern 2018, arXiv:1804.04235, section 3):  R <- (1 - alpha) R + alpha mean_j h_ij;
    C <- (1 - alpha) C + alpha mean_i h_ij;  H = R C^T / mean(R).  On tensors that are no matrices H is whole.

    The paper's text on HiZOO-L could not be consulted, and its code has HiZOO alone: that it keeps row and column
    factors is known, how it updates and combines them is taken from Adafactor (`verified` False). A mean over n entries
    of h, each a multiple of its z^2, says little of any of them: what is left is mostly a scale for the tensor.

    Defaults, learning rates: HiZOO's. Forwards a step: 3. State: m + n fp32 values a matrix, one a parameter on
    other tensors; with alpha 0 it is MeZO with one look more.
    """

    reference: ClassVar[str] = "Zhao et al. 2024, arXiv:2402.15173, HiZOO-L"
    public_code: ClassVar[str] = "Yanjun-Zhao/HiZOO (no licence seen) has HiZOO alone"
    forwards_per_step: ClassVar[int | None] = 3
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 5e-7, 1e-6, 5e-6)
    verified: ClassVar[bool | None] = False
    state_per_parameter: ClassVar[float] = 0.0
    neutral: ClassVar[Mapping[str, object] | None] = {"alpha": 0.0}

    def setup(self) -> None:
        refuse_stacks("hizoo_l", self.handles, "choose a scope without experts, or hizoo")
        self.row = self.buffer("row", init=1.0, shape=lambda p: (p.shape[0], 1), on=matrices)
        self.column = self.buffer("column", init=1.0, shape=lambda p: (p.shape[1], 1), on=matrices)
        self.h = self.buffer("h", init=1.0, on=vectors)

    def state_of(self, shape: tuple[int, ...]) -> float:
        return sum(shape) if len(shape) == 2 else math.prod(shape)

    def iterate(self, losses: Losses) -> Tensor:
        z = self.noise()
        product = self.row @ self.column.T / self.row.map(torch.mean)
        scaled = z / (product + self.h).sqrt()  # of H as it is when this is computed: the move has the new one
        l0, lp, lm = losses(0, +self.eps * scaled, -self.eps * scaled)
        c = (lp - lm) / (2 * self.eps)
        second = wide(lp) + wide(lm) - 2 * wide(l0)  # in float16 it would round, and 1 / eps^2 overflow
        curvature = second.abs() / (2 * self.eps**2)
        self.h.assign((1 - self.alpha) * self.h + self.alpha * curvature * (self.h * z.square()))
        h = curvature * (product * z.square())
        for p, rows, columns in self.each(h.map(row_means), h.map(column_means)):
            self.row[p].lerp_(rows, self.alpha)
            self.column[p].lerp_(columns, self.alpha)
        self.descend(c * scaled)
        return l0
