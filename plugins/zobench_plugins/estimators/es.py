"""Evolution strategies, Salimans et al. 2017 and Qiu et al. 2025."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from zobench import Estimator, Losses, NonNegative, Planned, Positive, Range, ZobenchError


class ES(Estimator):
    """n one-sided looks a step; each direction counts by how its loss stands among those of the others.

    Papers: Evolution Strategies at Scale (arXiv:2509.24372), and Salimans et al. 2017 (arXiv:1703.03864), Algorithm 1,
    of which it is the plain form. The reward of a direction is minus its loss (with train_loss=non_diff: the metric of
    what is generated, as in the former):  z_i ~ N(0, I);  l_i = L(theta + eps z_i);
    theta <- theta - (lr / n) sum_i s_i z_i,  with the standing s_i of l_i by
      shaping="zscore"   s = (l - mean l) / std l, std over n (arXiv:2509.24372);
      shaping="rank"     s = the ranks of l, spread from -0.5 to 0.5, equal losses sharing theirs (arXiv:1703.03864);
      shaping="raw"      s = l / eps, Algorithm 1 itself; mirrored and with n = 2 it is MeZO.
    mirrored: z_2i = -z_2i-1, so that n looks have n/2 directions (arXiv:1703.03864, section 2.1; not in 2509.24372).
    In both papers eps is called sigma. lr has no 1/eps, as in 2509.24372: the alpha of Algorithm 1 is eps times it.

    Defaults: n 30, eps 1e-3, lr 5e-4 at most (2509.24372: alpha). With z-scores a step's root mean square is
    lr / sqrt(n) a coordinate, whatever the slope; the grid goes from the size of MeZO's steps to that of the paper
    (9e-5). Ranks have a root mean square of 0.29: lr 3.5 times as large makes the same step. Forwards a step: n.
    State: none.

    `floor`: where all losses are (nearly) the same, std <= floor, nothing was learnt and the weights stay.
    Public code (not read for this, as its licence is academic; known defects): tensors of one shape get the same noise
    in every layer, and weights come back by arithmetic in bfloat16, with a drift as large as the step (here:
    --set restore=arithmetic). The former cannot be asked for.
    """

    reference: ClassVar[str] = "Qiu et al. 2025, arXiv:2509.24372; Salimans et al. 2017, arXiv:1703.03864, Algorithm 1"
    public_code: ClassVar[str] = (
        "VsonicV/es-at-scale (academic licence): tensors of one shape have the same noise; drifts in bfloat16 as "
        "far as a step"
    )
    verified: ClassVar[bool | None] = True
    state_per_parameter: ClassVar[float] = 0.0
    forwards_per_step: ClassVar[int | None] = 30
    directions_per_step: ClassVar[int | None] = 30
    lr_grid: ClassVar[tuple[float, ...]] = (5e-6, 2e-5, 1e-4, 5e-4)
    small_lrs: ClassVar[tuple[float, ...]] = (2e-4, 2e-3)
    neutral: ClassVar[Mapping[str, object] | None] = {"n": 2, "mirrored": True, "shaping": "raw"}
    exercise: ClassVar[Mapping[str, object]] = {"n": 4}

    eps: Positive = 1e-3
    """How far to look: the looks are at theta + eps times each direction."""
    n: Annotated[int, Range(ge=2)] = 30
    """Looks a step."""
    shaping: Literal["zscore", "rank", "raw"] = "zscore"
    """What a loss counts (see above)."""
    mirrored: bool = False
    """Look along every direction both ways."""
    floor: NonNegative = 1e-12
    """At a deviation of the losses not above this, z-scores are 0."""

    @classmethod
    def check(cls, settings: Mapping[str, Any], planned: Planned) -> None:
        """ZobenchError for mirrored looks of an odd number."""
        super().check(settings, planned)
        _paired(settings["mirrored"], settings["n"])

    def setup(self) -> None:
        _paired(self.mirrored, self.n)

    def shaped(self, ls: Tensor) -> Tensor:
        """The s (n,) of the losses (n,), raw ones without their 1/eps; on their device: no host sync."""
        if self.shaping == "raw":
            return ls
        wide = ls.to(torch.promote_types(ls.dtype, torch.float32))
        if self.shaping == "rank":
            below, upto = (wide[:, None] > wide).sum(1), (wide[:, None] >= wide).sum(1)
            return (below + upto - 1).to(wide) / (2 * (self.n - 1)) - 0.5
        std = wide.std(correction=0)
        return torch.where(std > self.floor, (wide - wide.mean()) / std, 0.0)

    def iterate(self, losses: Losses) -> Tensor:
        signs = (1, -1) if self.mirrored else (1,)
        zs = [self.noise() for _ in range(self.n // len(signs))]
        ls = losses(*(sign * self.eps * z for z in zs for sign in signs))
        s = self.shaped(torch.stack(ls)).view(len(zs), len(signs))
        s = (s[:, 0] - s[:, 1] if self.mirrored else s[:, 0]) / (self.n * (self.eps if self.shaping == "raw" else 1))
        first, *rest = (si * z for si, z in zip(s, zs, strict=True))
        self.descend(sum(rest, first))
        return ls[0]


def _paired(mirrored: bool, n: int) -> None:
    """ZobenchError for mirrored looks of an odd number."""
    if mirrored and n % 2:
        raise ZobenchError(f"es: mirrored looks come in pairs, and n={n} is odd; set n to an even number")
