"""The directions of TeZO, Sun et al. 2025."""

from __future__ import annotations

from typing import ClassVar

from zobench import Count, Direction, Directions, Draws

from ..stacks import matrix_like, others, tall, wide

FOREVER = 10**18


class TeZODirections(Directions):
    """Of low rank over matrices and time: d = U diag(tau) V^T, U and V drawn once a run, tau (r) new every time.

    Paper: TeZO (arXiv:2501.19057): the perturbations of all steps as one tensor of low CP rank, whose factors over rows
    and columns, U (m, r) and V (n, r) ~ N(0, 1), stay, while the one over time, tau ~ N(0, I_r), is drawn at every
    step. On tensors that are no matrices d is Gaussian. Entries have mean square r, as for lozo. All that such steps
    can reach of a matrix are r matrices of rank 1: MeZO in r coordinates of it.

    Defaults: rank 24, for all matrices; the paper chooses the rank of each layer by its singular values, a rule that
    was not to be had (`verified` False), and so were its ranks. State: none, U and V are drawn again from their seeds.
    """

    reference: ClassVar[str] = "Sun et al. 2025, arXiv:2501.19057"
    public_code: ClassVar[str] = "none found"
    verified: ClassVar[bool | None] = False

    rank: Count = 24
    """Matrices of rank 1 that a direction is made of."""

    def draw(self, of: Draws) -> Direction:
        rank = self.rank
        u = of.noise(shape=lambda p: tall(p, rank), on=matrix_like, every=FOREVER, label="tezo-u")
        v = of.noise(shape=lambda p: wide(p, rank), on=matrix_like, every=FOREVER, label="tezo-v")
        tau = of.noise(shape=lambda p: (*p.shape[:-2], 1, rank), on=matrix_like, label="tau")
        return (u * tau) @ v.T + of.noise(on=others)
