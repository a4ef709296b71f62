"""The directions of SubZero, Yu et al. 2024."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor

from zobench import Count, Direction, Directions, Draws, Handle, Planned

from ..estimators.subzero import factors, orthonormal, refuse_narrow
from ..stacks import matrix_like, others, sides, tall, wide


class SubZeroDirections(Directions):
    """In a random subspace of each matrix: d = s U Z V^T, U and V orthonormal and held, Z new; Gaussian on others.

    Paper: Zeroth-Order Fine-Tuning of LLMs in Random Subspaces (arXiv:2410.08989): U (m, r), V (n, r) by QR
    decompositions of Gaussian matrices, new every `interval` steps; Z (r, r) ~ N(0, 1). `mezo` along them is
    `subzero`. With scale="code" s = sqrt(m n) / r and d is as long as MeZO's; with "paper" s = 1. All directions of a
    step share U and V. Of a tensor that holds the matrices of all experts of a block, each has its own.

    Defaults: rank 24, interval 1000 (released README). The rank of a matrix is at most its smaller side. State: U and
    V, r (m + n) fp32 values a matrix, computed again from their seeds on resuming. Refused on adapters, prefixes and
    prompts, which the authors reshape first.
    """

    reference: ClassVar[str] = "Yu et al. 2024, arXiv:2410.08989"
    public_code: ClassVar[str] = "zimingyy/SubZero (no licence seen): see the estimator subzero"
    verified: ClassVar[bool | None] = True
    exercise: ClassVar[Mapping[str, object]] = {"interval": 3, "rank": 4}

    rank: Count = 24
    """Columns of U and V, where a matrix has as many rows and columns."""
    interval: Count = 1000
    """Steps for which U and V are held."""
    scale: Literal["code", "paper"] = "code"
    """Length of a direction (see above)."""

    @classmethod
    def check(cls, settings: Mapping[str, Any], planned: Planned) -> None:
        """ZobenchError for adapters, prefixes and prompts."""
        refuse_narrow(planned)

    def state_of(self, shape: tuple[int, ...]) -> float:
        return factors(self.rank, shape)

    def draw(self, of: Draws) -> Direction:
        rank = self.rank
        z_others = of.noise(on=others)
        z = of.noise(shape=lambda p: (*p.shape[:-2], *(min(rank, *sides(p)),) * 2), on=matrix_like)
        u, v = (
            of.noise(
                shape=lambda p, side=side: side(p, min(rank, *sides(p))),  # type: ignore[misc]
                on=matrix_like,
                every=self.interval,
                label=label,
            ).map(orthonormal, keep=True)
            for side, label in ((tall, "U"), (wide, "V"))
        )
        scale = rank if self.scale == "code" else None
        s = of.buffer("s", init=lambda p: _scale(p, scale), shape=lambda p: (), on=matrix_like)
        return s * (u @ z @ v.T) + z_others


def _scale(p: Handle, rank: int | None) -> Tensor:
    """The factor sqrt(m n) / r of one matrix, 0-dim; of no rank 1."""
    m, n = sides(p)
    return p.data.new_full((), 1.0 if rank is None else (m * n) ** 0.5 / min(rank, m, n), dtype=p.dtype)
