"""SubZero, Yu et al. 2024."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from zobench import (
    Count,
    Direction,
    Estimator,
    Handle,
    Losses,
    Planned,
    Positive,
    ZobenchError,
    matrices,
    vectors,
)

from ..stacks import refuse_stacks


def orthonormal(x: Tensor) -> Tensor:
    """Orthonormal columns (m, r) that span those of `x` (m, r), r <= m, by a QR decomposition."""
    q: Tensor = torch.linalg.qr(x).Q
    return q


def factors(rank: int, shape: tuple[int, ...]) -> float:
    """Entries of U and V of a tensor of this shape."""
    return min(rank, *shape) * sum(shape) if len(shape) == 2 else 0.0


class SubZero(Estimator):
    """Directions in a random subspace of each matrix: d = s U Z V^T, U and V orthonormal and held for many steps.

    Paper: Zeroth-Order Fine-Tuning of LLMs in Random Subspaces (arXiv:2410.08989), its algorithm with the lazy update
    of subspaces: U (m, r) and V (n, r) by QR decompositions of Gaussian matrices, new every `interval` steps;
    Z (r, r) ~ N(0, 1), new every step;  c = [L(theta + eps d) - L(theta - eps d)] / (2 eps);  W <- W - lr c d.  On
    tensors that are no matrices d is Gaussian.

    `scale`: the paper writes s = 1; its released code has s = sqrt(m n) / r, by which d is as long as MeZO's on every
    matrix, E |d|^2 = m n. Rates and eps of published runs belong to the code, and no single factor turns them into the
    paper's: it differs from matrix to matrix. So the code's s is the default.

    Defaults: rank 24 and interval 1000 (released README, for prompt tuning; the code's own are 8 and 2000), eps 1e-3.
    The rank of a matrix is at most its smaller side. Learning rates: MeZO's, since directions are as long as there.
    Forwards a step: 2. State: U and V, r (m + n) fp32 values a matrix, computed again from their seeds on resuming.

    The paper reshapes narrow matrices (LoRA, prompts) to nearly square ones first; that is not done here, and without
    it it is another method: adapters, prefixes and prompts are refused. So are tensors that hold the matrices of all
    experts of a block; as `mezo` with directions=subzero, which it otherwise equals, it takes each of them by itself.
    Public code: U and V are rounded to the dtype of the model; a run that is resumed has lost them.
    """

    own_directions: ClassVar[str] = (
        "they are its own; mezo with directions=subzero is this method, and other estimators take them too"
    )
    reference: ClassVar[str] = "Yu et al. 2024, arXiv:2410.08989, SubZero with SGD"
    public_code: ClassVar[str] = (
        "zimingyy/SubZero (no licence seen): a factor sqrt(m n) / r that the paper leaves out; a resumed run has "
        "lost U and V"
    )
    verified: ClassVar[bool | None] = True
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 5e-7, 1e-6, 5e-6)
    forwards_per_step: ClassVar[int | None] = 2
    exercise: ClassVar[dict[str, object]] = {"interval": 3, "rank": 4}

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""
    rank: Count = 24
    """Columns of U and V, where a matrix has as many rows and columns."""
    interval: Count = 1000
    """Steps for which U and V are held."""
    scale: Literal["code", "paper"] = "code"
    """Length of a direction (see above)."""

    @classmethod
    def check(cls, settings: Mapping[str, Any], planned: Planned) -> None:
        """ZobenchError for adapters, prefixes and prompts."""
        super().check(settings, planned)
        refuse_narrow(planned)

    def setup(self) -> None:
        refuse_stacks("subzero", self.handles, "take mezo with directions=subzero, or a scope without experts")
        rank = self.rank if self.scale == "code" else None  # not self: buffers may not keep their estimator alive
        self.s = self.buffer("s", init=lambda p: _scale(p, rank), shape=lambda p: (), on=matrices)

    def state_of(self, shape: tuple[int, ...]) -> float:
        return factors(self.rank, shape)

    def basis(self, axis: int) -> Direction:
        """U (axis 0) or V (axis 1), kept as long as it is held."""
        gaussian = self.noise(
            shape=lambda p: (p.shape[axis], min(self.rank, *p.shape)),
            on=matrices,
            every=self.interval,
            label="UV"[axis],
        )
        return gaussian.map(orthonormal, keep=True)

    def iterate(self, losses: Losses) -> Tensor:
        other = self.noise(on=vectors)
        z = self.noise(shape=lambda p: (min(self.rank, *p.shape),) * 2, on=matrices)
        d = self.s * (self.basis(0) @ z @ self.basis(1).T) + other
        lp, lm = losses(+self.eps * d, -self.eps * d)
        c = (lp - lm) / (2 * self.eps)
        self.descend(c * d)
        return lp


def refuse_narrow(planned: Planned, method: str = "subzero") -> None:
    """ZobenchError where what trains is an adapter, a prefix or a prompt."""
    if planned.parameterisation in ("lora", "prefix", "prompt"):
        raise ZobenchError(
            f"{method}: its authors make the narrow matrices of parameterisation {planned.parameterisation} nearly "
            "square first, which is not done here; use parameterisation full, or other directions"
        )


def _scale(p: Handle, rank: int | None) -> Tensor:
    """The factor sqrt(m n) / r of one matrix, 0-dim; of no rank 1."""
    m, n = p.shape
    return p.data.new_full((), 1.0 if rank is None else (m * n) ** 0.5 / min(rank, m, n), dtype=p.dtype)
