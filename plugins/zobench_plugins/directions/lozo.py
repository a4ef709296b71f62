"""The directions of LOZO, Chen et al. 2024."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from zobench import Count, Direction, Directions, Draws

from ..stacks import matrix_like, others, tall, wide


class LOZODirections(Directions):
    """Of low rank on matrices: d = U V^T, U (m, r) new every time, V (n, r) held for nu steps; Gaussian on others.

    Paper: Enhancing Zeroth-order Fine-tuning with Low-rank Structures (arXiv:2410.07698), Algorithm 1 (lazy sampling).
    `mezo` along them is `lozo`. Its entries have mean square r, so that a learning rate acts as r times that along
    Gaussian directions where a method's step is as long as its direction. All directions of a step share V. Of a
    tensor that holds the matrices of all experts of a block, each has factors of its own.

    Defaults: rank 2, nu 50 (released script). State: none, V is drawn again from its seed.
    """

    reference: ClassVar[str] = "Chen et al. 2024, arXiv:2410.07698, Algorithm 1"
    public_code: ClassVar[str] = "optsuite/LOZO (no licence seen): see the estimator lozo"
    verified: ClassVar[bool | None] = True
    exercise: ClassVar[Mapping[str, object]] = {"nu": 3}

    rank: Count = 2
    """Columns of U and V."""
    nu: Count = 50
    """Steps for which V is held."""

    def draw(self, of: Draws) -> Direction:
        v = of.noise(shape=lambda p: wide(p, self.rank), on=matrix_like, every=self.nu, label="v")
        u = of.noise(shape=lambda p: tall(p, self.rank), on=matrix_like, label="u")
        return u @ v.T + of.noise(on=others)
