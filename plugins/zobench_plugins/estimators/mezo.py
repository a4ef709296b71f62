"""MeZO, Malladi et al. 2023."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from zobench import Estimator, Losses, Positive


class MeZO(Estimator):
    """ZO-SGD: two losses along one Gaussian direction, and a step along it.

    Paper: Fine-Tuning Language Models with Just Forward Passes (arXiv:2305.17333), Definition 1 (SPSA) and
    Algorithm 1, with n = 1:  z ~ N(0, I);  c = [L(theta + eps z) - L(theta - eps z)] / (2 eps);
    theta <- theta - lr (c z + weight_decay theta).

    Defaults: eps 1e-3 (section 3 and the released script). Learning rates: the released README tunes 1e-6 and 1e-7
    on OPT-13B; the grid here adds 5e-7 and 5e-6. Forwards a step: 2. State: none.

    The loss that is shown is L(theta + eps z), as in the released code. That code perturbs in place and restores by
    arithmetic, which drifts in 16 bit: `--engine official` reproduces it, the others restore as `restore` says.
    """

    reference: ClassVar[str] = "Malladi et al. 2023, arXiv:2305.17333, Algorithm 1"
    public_code: ClassVar[str] = "princeton-nlp/MeZO (MIT): restores by arithmetic, which drifts in 16 bit"
    verified: ClassVar[bool | None] = True
    state_per_parameter: ClassVar[float] = 0.0
    forwards_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 5e-7, 1e-6, 5e-6)
    neutral: ClassVar[Mapping[str, object] | None] = {}

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""

    def iterate(self, losses: Losses) -> Tensor:
        z = self.noise()
        lp, lm = losses(+self.eps * z, -self.eps * z)
        c = (lp - lm) / (2 * self.eps)
        self.descend(c * z)
        return lp
