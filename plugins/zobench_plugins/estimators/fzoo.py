"""FZOO, Dang et al. 2025."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from zobench import Estimator, Losses, NonNegative, Positive, Range


class FZOO(Estimator):
    """n one-sided looks along Rademacher directions; the step is divided by the deviation of their losses.

    Paper: FZOO (arXiv:2506.09034), Algorithm 1: u_i in {-1, +1}^d;  l_i = L(theta + eps u_i);  l_0 = L(theta);
    sigma = std(l_1, ..., l_n);  theta <- theta - lr sum_i (l_i - l_0) u_i / (n sigma).
    Since sigma is about eps |grad|, the step does not depend on the size of the gradient.

    lr is that of the released code and README; the paper writes a further 1/eps in the step, so its lr is eps times
    this one. Defaults: n 8, eps 1e-4, lr 5e-5 (README; the script's is 1e-5). Forwards a step: n + 1. State: none.

    `floor`: where all looks give (nearly) the same loss, sigma <= floor, nothing was learnt and the weights stay;
    the released code divides by zero there.
    Public code: deviation="population" divides by n instead of n - 1. Its reuse of earlier losses and its batched
    forward are not active in the release.
    """

    reference: ClassVar[str] = "Dang et al. 2025, arXiv:2506.09034, Algorithm 1"
    public_code: ClassVar[str] = (
        "DKmiyan/FZOO (MIT): divides by zero where all losses are equal; reuse of losses and batched forward are "
        "not active"
    )
    verified: ClassVar[bool | None] = True
    state_per_parameter: ClassVar[float] = 0.0
    forwards_per_step: ClassVar[int | None] = 9
    directions_per_step: ClassVar[int | None] = 8
    lr_grid: ClassVar[tuple[float, ...]] = (1e-5, 5e-5)
    small_lrs: ClassVar[tuple[float, ...]] = (1e-4, 1e-3)
    exercise: ClassVar[Mapping[str, object]] = {"n": 3}

    eps: Positive = 1e-4
    """How far to look: the looks are at theta + eps times each direction."""
    n: Annotated[int, Range(ge=2)] = 8
    """Directions a step; it costs n + 1 forwards."""
    floor: NonNegative = 1e-12
    """At a deviation of the losses not above this, the weights stay."""
    deviation: Literal["sample", "population"] = "sample"
    """Divide by n - 1 (paper) or by n (released code)."""

    def iterate(self, losses: Losses) -> Tensor:
        us = [self.noise("rademacher") for _ in range(self.n)]
        l0, *ls = losses(0, *(self.eps * u for u in us))
        sigma = torch.stack(ls).std(correction=1 if self.deviation == "sample" else 0)
        step = torch.where(sigma > self.floor, 1 / (self.n * sigma), 0.0)  # on the device: no host sync
        first, *rest = ((li - l0) * step * u for li, u in zip(ls, us, strict=True))
        self.descend(sum(rest, first))
        return l0
