"""MeZO with steps of a set size: a control for methods that rescale their steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from zobench import Count, Losses

from .n_spsa import NSPSA
from .norms import reciprocal, rms, rms_by_tensor


class MeZONormalized(NSPSA):
    """MeZO's step divided by its own length: every step has the root mean square lr, whatever the losses say.

    A control of zobench's own, from n-SPSA (Malladi et al. 2023, arXiv:2305.17333, Definition 1):
    g = 1/q sum_i c_i z_i;  theta <- theta - lr g / rms(g),  rms(g) = |g| / sqrt(number of entries that may move).

    Adam's denominators, FZOO's deviation, a sign or an orthogonalised step all make the step independent of the size
    of the slope. What such a method gains over this one, with the q of its forwards, is due to its directions; what
    this one gains over n_spsa is due to the size of the steps. With q 1 it is sign(c) z up to the length of z.

    per="scope"    one length for all tensors together;
    per="tensor"   each tensor's step has the root mean square lr (divided by its Frobenius norm): the control for
                   steps that are normalised matrix by matrix.
    Where all losses are equal the weights stay.

    Defaults: q 1; eps 1e-3 (MeZO's). lr is the root mean square of a step, as for zo_sgd_sign, whose grid it has.
    Forwards a step: 2 q. State: none. The length is found before the move, by drawing the directions once more.
    """

    reference: ClassVar[str] = "zobench's control, on n-SPSA (Malladi et al. 2023, arXiv:2305.17333, Definition 1)"
    public_code: ClassVar[str] = "none: a control of zobench's own"
    verified: ClassVar[bool | None] = True
    state_per_parameter: ClassVar[float] = 0.0
    forwards_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 1e-6, 1e-5, 1e-4)
    small_lrs: ClassVar[tuple[float, ...]] = (1e-3, 5e-3)
    neutral: ClassVar[Mapping[str, object] | None] = None

    q: Count = 1
    """Directions a step; it costs 2 q forwards."""
    per: Literal["scope", "tensor"] = "scope"
    """Whose step has the set length (see above)."""

    def iterate(self, losses: Losses) -> Tensor:
        g, shown = self.estimate(losses)
        if self.per == "scope":
            self.descend(g * reciprocal(rms(self, g)))
        else:
            self.descend(g * rms_by_tensor(self, g).map(reciprocal))
        return shown
