"""n-SPSA: MeZO with several directions a step, Malladi et al. 2023."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from zobench import Count, Direction, Estimator, Losses, Positive


class NSPSA(Estimator):
    """MeZO's estimate averaged over q directions: the control at equal forwards for methods that look more than twice.

    Paper: Fine-Tuning Language Models with Just Forward Passes (arXiv:2305.17333), Definition 1 (n-SPSA, n called q
    here):  z_i ~ N(0, I);  c_i = [L(theta + eps z_i) - L(theta - eps z_i)] / (2 eps);
    theta <- theta - lr / q sum_i c_i z_i.  All looks are on one batch.

    E[g] is the gradient of the smoothed loss whatever q is; where n parameters may move, E|g|^2 = (1 + (n + 1) / q)
    |grad|^2, so that a step is sqrt(q) times shorter than MeZO's at the same lr. A method that looks 2q times a step
    has found something only if it beats this one with that q.

    Defaults: q 4; eps 1e-3 (MeZO's). Learning rates: sqrt(4) times those of mezo, for steps of the same size. Forwards
    a step: 2 q. State: none. With q 1 it is mezo, bit for bit.
    Public code: its large models know q 1 only; those for RoBERTa average, and can multiply the lr by q.
    """

    reference: ClassVar[str] = "Malladi et al. 2023, arXiv:2305.17333, Definition 1"
    public_code: ClassVar[str] = "princeton-nlp/MeZO (MIT): one direction alone for large models"
    verified: ClassVar[bool | None] = True
    state_per_parameter: ClassVar[float] = 0.0
    forwards_per_step: ClassVar[int | None] = 8
    directions_per_step: ClassVar[int | None] = 4
    lr_grid: ClassVar[tuple[float, ...]] = (2e-7, 1e-6, 2e-6, 1e-5)
    small_lrs: ClassVar[tuple[float, ...]] = (2e-4, 1e-3)
    neutral: ClassVar[Mapping[str, object] | None] = {"q": 1}
    exercise: ClassVar[Mapping[str, object]] = {"q": 3}

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times each direction."""
    q: Count = 4
    """Directions a step; it costs 2 q forwards."""

    def estimate(self, losses: Losses) -> tuple[Direction, Tensor]:
        """The averaged estimate of the gradient, and the first loss seen."""
        zs = [self.noise() for _ in range(self.q)]
        seen = losses(*(sign * self.eps * z for z in zs for sign in (+1, -1)))
        slopes = [(lp - lm) / (2 * self.eps) for lp, lm in zip(seen[::2], seen[1::2], strict=True)]
        first, *rest = (c / self.q * z for c, z in zip(slopes, zs, strict=True))
        return sum(rest, first), seen[0]

    def iterate(self, losses: Losses) -> Tensor:
        g, shown = self.estimate(losses)
        self.descend(g)
        return shown
