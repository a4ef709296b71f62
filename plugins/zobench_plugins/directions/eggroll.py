"""The directions of EGGROLL, Sarkar et al. 2025."""

from __future__ import annotations

import math
from typing import ClassVar

from zobench import Count, Direction, Directions, Draws

from ..stacks import matrix_like, others, tall, wide


class EGGROLL(Directions):
    """Of low rank on matrices: d = A B^T / sqrt(r), A (m, r) and B (n, r) Gaussian, new every time; Gaussian on others.

    Paper: Evolution Strategies at the Hyperscale (arXiv:2511.16652), its low-rank perturbation. `es` along them, with
    mirrored looks, is the method on a loss; entries have mean square 1, as Gaussian ones. What the paper gains is speed
    of many looks in one batched forward, which is not made here: looks are at whole weights.

    Defaults: rank 1 (released). State: none. Verified of the released code (src/hyperscalees/noiser/eggroll.py at
    b77f7d6): A, B and their scale, and that what is no matrix gets Gaussian noise. There embeddings and the output
    layer stay; here they have a direction as other matrices: leave them out by the scope.
    """

    reference: ClassVar[str] = "Sarkar et al. 2025, arXiv:2511.16652"
    public_code: ClassVar[str] = "ESHyperscale/HyperscaleES (GPL-3.0), in jax"
    verified: ClassVar[bool | None] = True

    rank: Count = 1
    """Columns of A and B."""

    def draw(self, of: Draws) -> Direction:
        a = of.noise(shape=lambda p: tall(p, self.rank), on=matrix_like, label="a")
        b = of.noise(shape=lambda p: wide(p, self.rank), on=matrix_like, label="b")
        return (a @ b.T) / math.sqrt(self.rank) + of.noise(on=others)
