"""Muon's update on MeZO's estimate: what orthogonalised steps add, whatever the directions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from zobench import Estimator, Losses, Positive, Range

from .zo_muon import newton_schulz


def orthogonalised(x: Tensor) -> Tensor:
    """A matrix with its singular values made about equal, others as they are; entries of mean square about 1.

    Of a tensor of three axes each matrix is taken by itself. Zeros stay.
    """
    if x.ndim == 3:
        return torch.stack([orthogonalised(one) for one in x])
    if x.ndim == 2:
        return newton_schulz(x) * math.sqrt(max(x.shape))
    rms = x.square().mean().sqrt()
    return x * torch.where(rms > 0, 1 / rms, 0.0)


class MeZOMuon(Estimator):
    """Muon on MeZO's estimate c z: momentum, then a step whose singular values are about equal.

    A control of zobench's own: the update of Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) with the
    estimate of Malladi et al. 2023 (arXiv:2305.17333, Definition 1) in the place of the gradient:  g = c z;
    m <- momentum m + g;  W <- W - lr sqrt(max(rows, columns)) NS5(g + momentum m), NS5 five Newton-Schulz steps. The
    factor makes the entries of a step about lr in root mean square, on every matrix alike; tensors that are no matrices
    take g + momentum m divided by its root mean square. zo_muon, a published method, orthogonalises without momentum in
    the coordinates of a held subspace; here directions are whole, or of the family that is chosen (`mezo_muon:lozo`).

    Defaults: momentum 0.95 (Muon's); eps 1e-3 (MeZO's). Learning rates: mezo_normalized's, whose steps are as long.
    Forwards a step: 2. State: m, one fp32 value a parameter.
    """

    reference: ClassVar[str] = "zobench's control: Muon (Jordan et al. 2024) on SPSA (arXiv:2305.17333, Definition 1)"
    public_code: ClassVar[str] = "none: a control of zobench's own"
    verified: ClassVar[bool | None] = True
    forwards_per_step: ClassVar[int | None] = 2
    state_per_parameter: ClassVar[float] = 1.0
    moves_along_looks: ClassVar[bool] = False
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 1e-6, 1e-5, 1e-4)
    small_lrs: ClassVar[tuple[float, ...]] = (3e-4, 2e-3)
    exercise: ClassVar[Mapping[str, object]] = {"momentum": 0.5}

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""
    momentum: Annotated[float, Range(ge=0, lt=1)] = 0.95
    """Share of the last step's m that stays."""

    def setup(self) -> None:
        self.m = self.buffer("m")

    def iterate(self, losses: Losses) -> Tensor:
        z = self.noise()
        lp, lm = losses(+self.eps * z, -self.eps * z)
        g = (lp - lm) / (2 * self.eps) * z
        self.m.assign(self.momentum * self.m + g)
        self.descend((g + self.momentum * self.m).map(orthogonalised))
        return lp
