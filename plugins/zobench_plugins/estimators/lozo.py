"""LOZO, Chen et al. 2024."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from zobench import Count, Direction, Estimator, Losses, Positive

from ..stacks import matrix_like, others, tall, wide


class LOZO(Estimator):
    """Low-rank directions: on matrices d = U V^T with V held for nu steps; on other tensors d is Gaussian.

    Paper: Enhancing Zeroth-order Fine-tuning with Low-rank Structures (arXiv:2410.07698), Algorithm 1 (lazy
    sampling): U (m, r) and V (n, r) ~ N(0, 1);  d = U V^T;  c = [L(theta + eps d) - L(theta - eps d)] / (2 eps);
    W <- W - lr c d / r.  With d as it is on all tensors it is `mezo` with directions=lozo.

    `scale`: the released code, which published runs are of, leaves out the 1/r: its lr acts as r times the paper's on
    matrices, and as the paper's on all other tensors, which are not of low rank and have no r. No single factor turns
    its rates into the paper's, so the code's step is the default.

    Defaults: rank 2, nu 50, eps 1e-3, learning rates 1e-6 and 1e-7 (released script); small runs: MeZO's by r, since
    the entries of d have mean square r. Forwards a step: 2. State: none, since V is drawn again from its seed.

    Of a tensor that holds the matrices of all experts of a block, each has factors of its own.

    scale="paper" has the 1/r on matrices.
    Public code (off by default):
      refresh="as_released"   at a step that draws a new V, the move is along another U (and another z) than the
                              looks, since the released update sweep draws U where the looks drew V: 1 step in nu
                              goes in an unrelated direction.
    """

    own_directions: ClassVar[str] = (
        "they are its own; mezo with directions=lozo is this method, and other estimators take them too"
    )
    reference: ClassVar[str] = "Chen et al. 2024, arXiv:2410.07698, Algorithm 1"
    public_code: ClassVar[str] = (
        "optsuite/LOZO (no licence seen): no 1/r in the step; 1 step in nu moves along another direction than it looked"
    )
    verified: ClassVar[bool | None] = True
    numerics: ClassVar[int] = 2  # matrices of experts in one tensor got Gaussian directions
    state_per_parameter: ClassVar[float] = 0.0
    forwards_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 1e-6)
    small_lrs: ClassVar[tuple[float, ...]] = (5e-5, 2.5e-4)
    exercise: ClassVar[Mapping[str, object]] = {"nu": 3}

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""
    rank: Count = 2
    """Columns of U and V."""
    nu: Count = 50
    """Steps for which V is held."""
    scale: Literal["code", "paper"] = "code"
    """Whether the step of matrices has the 1/rank of the paper (see above)."""
    refresh: Literal["sound", "as_released"] = "sound"
    """Whether the step that draws a new V repeats the released fault (see above)."""

    def held(self) -> Direction:
        """V (n, r), the same for nu steps."""
        return self.noise(shape=lambda p: wide(p, self.rank), on=matrix_like, every=self.nu, label="v")

    def drawn(self) -> tuple[Direction, Direction]:
        """U (m, r) on matrices, z on all others, new at every call."""
        u = self.noise(shape=lambda p: tall(p, self.rank), on=matrix_like, label="u")
        return u, self.noise(on=others)

    def iterate(self, losses: Losses) -> Tensor:
        v, (u, z) = self.held(), self.drawn()
        d = u @ v.T + z
        lp, lm = losses(+self.eps * d, -self.eps * d)
        c = (lp - lm) / (2 * self.eps)
        if self.refresh == "as_released" and self.t % self.nu == 0:
            u, z = self.drawn()
        self.descend(c * (u @ v.T / (self.rank if self.scale == "paper" else 1) + z))
        return lp
