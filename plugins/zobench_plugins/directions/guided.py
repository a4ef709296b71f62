"""The directions of MeZO-GV and MeZO-Greedy, Jin et al. 2026."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from zobench import Direction, Directions, Draws, Fraction, Positive, Range, wide


def contrast(seen: Sequence[Tensor], elite: float) -> Tensor:
    """By which weights candidates make the guiding vector: 1 / n of the n with the lowest losses, -1 / n of the others.

    seen: the candidates' losses, 0-dim. elite: the share with the lowest, of which there is one at least, and one not.
    """
    among = max(1, min(int(elite * len(seen)), len(seen) - 1))
    losses = wide(torch.stack(list(seen)))
    place = losses.argsort(stable=True).argsort()  # on the device: no host sync
    return torch.where(place < among, losses.new_full((), 1 / among), losses.new_full((), -1 / (len(seen) - among)))


def best(seen: Sequence[Tensor]) -> Tensor:
    """1 for the candidate with the lowest loss, 0 for the others."""
    losses = torch.stack(list(seen))
    return wide((torch.arange(len(seen), device=losses.device) == losses.argmin()).float())


class Guided(Directions):
    """Made of random candidates by what each does to the loss: low ones minus high ones, or the lowest alone.

    Paper: Steering the Noise (arXiv:2601.04710), GV-ZO and MeZO-Greedy, as plug-ins for other methods: z_i ~ N(0, I),
    l_i = L(theta + eps z_i), i = 1 ... pool; v = mean of the z_i with the `elite` share of lowest losses - mean of the
    others (choose="contrast"), or the z_i with the lowest (choose="best"). `mezo` along them is `mezo_gv`; see there
    for what is known of the paper and its code. v has entries of mean square 1 / n + 1 / (pool - n), n the elite ones.

    Every direction that a step asks for has candidates of its own. A direction of an earlier step cannot be drawn
    again.
    """

    reference: ClassVar[str] = "Jin et al. 2026, arXiv:2601.04710"
    public_code: ClassVar[str] = "stan-anony/MeZO-GV (no licence): see the estimator mezo_gv"
    verified: ClassVar[bool | None] = False
    forwards_per_direction: ClassVar[int] = 2
    recalled: ClassVar[bool] = False

    eps: Positive = 1e-3
    """How far the candidates look."""
    pool: Annotated[int, Range(ge=2)] = 2
    """Candidates of a direction; each costs a forward."""
    elite: Fraction = 0.5
    """The share of candidates whose losses are called low."""
    choose: Literal["contrast", "best"] = "contrast"
    """Low ones minus high ones, or the lowest alone."""

    def draw(self, of: Draws) -> Direction:
        zs = [of.noise() for _ in range(self.pool)]
        seen = of.losses(*(self.eps * z for z in zs))
        weights = contrast(seen, self.elite) if self.choose == "contrast" else best(seen)
        first, *rest = (w * z for w, z in zip(weights, zs, strict=True))
        v: Direction = sum(rest, first)
        return v
