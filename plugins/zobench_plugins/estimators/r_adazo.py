"""R-AdaZO, Shu et al. 2025."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from zobench import Count, Direction, Losses, Positive

from .adam import AdamMoments
from .norms import rms


class RAdaZO(AdamMoments):
    """Adam whose second moment is of the momentum, not of the noisy estimate: v from m^2.

    Paper: Refining Adaptive Zeroth-Order Optimization at Ease (arXiv:2502.01014): u_k uniform on the unit sphere,
    k = 1..q;  g = (d / q) sum_k [L(theta + mu u_k) - L(theta)] / mu u_k;  m <- beta1 m + (1 - beta1) g;
    v <- beta2 v + (1 - beta2) m^2;  theta <- theta - lr m / sqrt(v + delta).  There is no bias correction.

    eps is the root mean square of a look's entries, mu = eps sqrt(d), as for zo_adamm. Known are the equations, of a
    public summary, and the released code, not the settings of the paper's language models (`verified` False): betas 0.9
    and 0.999 and delta 1e-8 are the code's, q 1 and eps 1e-3 are zo_adamm's, and so are the learning rates by the ratio
    of the two methods' steps. Early steps are long: m_1^2 / v_1 is 1 / (1 - beta2).

    Forwards a step: q + 1. State: two fp32 values a parameter.
    Public code (radazo.py): it asks for 2 q losses for every tensor alone, on a sphere of its own, leaves out the
    factor d, has delta beside the root, 1e-8, and draws on the CPU; its example has beta2 0.99.
    """

    reference: ClassVar[str] = "Shu et al. 2025, arXiv:2502.01014"
    public_code: ClassVar[str] = "shuyao95/R-AdaZO (MIT): 2 q forwards for every tensor; without the factor d"
    verified: ClassVar[bool | None] = False
    forwards_per_step: ClassVar[int | None] = 2
    state_per_parameter: ClassVar[float] = 2.0
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 1e-6, 1e-5, 1e-4)
    small_lrs: ClassVar[tuple[float, ...]] = (1e-4, 1e-3)

    eps: Positive = 1e-3
    """How far to look: the looks are at theta + eps times each direction."""
    q: Count = 1
    """Directions that the estimate averages; a step costs q + 1 forwards."""
    delta: Positive = 1e-8
    """Added to the mean square under the root."""

    def setup(self) -> None:
        self.m, self.v = self.buffer("m"), self.buffer("v")

    def drawn(self) -> Direction:
        """One direction, the mean square of whose entries is 1."""
        z = self.noise()
        return z / rms(self, z) if self.family is None else z

    def iterate(self, losses: Losses) -> Tensor:
        ws = [self.drawn() for _ in range(self.q)]
        l0, *ls = losses(0, *(self.eps * w for w in ws))
        first, *rest = ((li - l0) / (self.eps * self.q) * w for li, w in zip(ls, ws, strict=True))
        for p, g in self.each(sum(rest, first)):
            m = self.m[p].lerp_(g, 1 - self.beta1)
            self.v[p].mul_(self.beta2).addcmul_(m, m, value=1 - self.beta2)
        self.descend(self.m / (self.v + self.delta).sqrt())
        return l0
