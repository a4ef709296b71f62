"""LOZO, Chen et al. 2024."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from zobench import Count, Direction, Estimator, Losses, Positive, matrices, vectors


class LOZO(Estimator):
    """Low-rank directions: on matrices d = U V^T with V held for nu steps; on other tensors d is Gaussian.

    Paper: Enhancing Zeroth-order Fine-tuning with Low-rank Structures (arXiv:2410.07698), Algorithm 1 (lazy
    sampling): U (m, r) and V (n, r) ~ N(0, 1);  c = [L(theta + eps U V^T) - L(theta - eps U V^T)] / (2 eps);
    W <- W - lr c U V^T / r.

    Defaults: rank 2, nu 50, eps 1e-3 (released script). Its learning rates, 1e-6 and 1e-7, belong to the released code,
    which leaves out the 1/r; the grid here is r times them, the same steps. Forwards a step: 2. State: none, since
    V is drawn again from its seed.

    Public code (both switches off by default):
      scale="code"            no 1/r in the step: its lr acts as r times the paper's;
      refresh="as_released"   at a step that draws a new V, the move is along another U (and another z) than the
                              looks, since the released update sweep draws U where the looks drew V: 1 step in nu
                              goes in an unrelated direction.
    """

    reference: ClassVar[str] = "Chen et al. 2024, arXiv:2410.07698, Algorithm 1"
    public_code: ClassVar[str] = (
        "optsuite/LOZO (no licence seen): no 1/r in the step; 1 step in nu moves along another direction than it looked"
    )
    verified: ClassVar[bool | None] = True
    state_per_parameter: ClassVar[float] = 0.0
    forwards_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (2e-7, 2e-6)
    exercise: ClassVar[Mapping[str, object]] = {"nu": 3}

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""
    rank: Count = 2
    """Columns of U and V."""
    nu: Count = 50
    """Steps for which V is held."""
    scale: Literal["paper", "code"] = "paper"
    """Whether the step has the 1/rank of the paper (see above)."""
    refresh: Literal["sound", "as_released"] = "sound"
    """Whether the step that draws a new V repeats the released fault (see above)."""

    def held(self) -> Direction:
        """V (n, r), the same for nu steps."""
        return self.noise(shape=lambda p: (p.shape[1], self.rank), on=matrices, every=self.nu, label="v")

    def drawn(self) -> tuple[Direction, Direction]:
        """U (m, r) on matrices, z on all others, new at every call."""
        u = self.noise(shape=lambda p: (p.shape[0], self.rank), on=matrices, label="u")
        return u, self.noise(on=vectors)

    def iterate(self, losses: Losses) -> Tensor:
        v, (u, z) = self.held(), self.drawn()
        d = u @ v.T + z
        lp, lm = losses(+self.eps * d, -self.eps * d)
        c = (lp - lm) / (2 * self.eps)
        if self.refresh == "as_released" and self.t % self.nu == 0:
            u, z = self.drawn()
        self.descend(c * (u @ v.T / (self.rank if self.scale == "paper" else 1) + z))
        return lp
