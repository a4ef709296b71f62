"""MeZO-GV and MeZO-Greedy, Jin et al. 2026."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from torch import Tensor

from zobench import Algebra, Estimator, Fraction, Losses, Positive, Range

from ..directions.guided import best, contrast


class MeZOGV(Estimator):
    """MeZO along a guiding vector: random candidates with low losses minus those with high ones.

    Paper: Steering the Noise: Turning Random Perturbations into Effective Descent (arXiv:2601.04710; in its first
    version Prior-Informed Zeroth-Order Optimization), GV-ZO: z_i ~ N(0, I) and l_i = L(theta + eps z_i), i = 1 ... M;
    v = mean of the floor(alpha M) z_i with the lowest l_i - mean of the others;
    c = [L(theta + eps v) - L(theta - eps v)] / (2 eps);  theta <- theta - lr c v.
    With choose="best" v is the z_i with the lowest l_i (MeZO-Greedy). With candidates="fresh" it is `mezo` along the
    directions `guided`, which other methods take too.

    With M = 2 the step c v is the same for v and -v, so that the two looks before decide nothing: it is MeZO along
    z_1 - z_2, at twice its forwards. The control for a larger pool is `n_spsa` at equal forwards.

    Known are the equations, of a public summary, the released code (large_models/trainer.py at 70a2551), and of the
    paper its comparison with n-SPSA, where a step has 4 forwards or 6, so that M is 2 or 4; not its alpha, nor how it
    says that candidates are kept (`verified` False). Defaults: pool 2 and elite 0.5 (code), eps 1e-3, lr 2e-7 (README;
    the script's is 1e-6). Forwards a step: pool + 2. State: none; with candidates="kept" z of the best, one fp32 value
    a parameter.

    Public code: candidates="kept" (its default) has two candidates, of which one is the better of the step before,
    looked at again. It makes v anew from one seed for every tensor, so that tensors of one shape have the same v, and
    all but the first another one than was looked along; here v is what was looked along.
    """

    reference: ClassVar[str] = "Jin et al. 2026, arXiv:2601.04710"
    public_code: ClassVar[str] = (
        "stan-anony/MeZO-GV (no licence): tensors of one shape have one v, and not the one that was looked along"
    )
    verified: ClassVar[bool | None] = False
    forwards_per_step: ClassVar[int | None] = 4
    directions_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 2e-7, 1e-6)
    small_lrs: ClassVar[tuple[float, ...]] = (1.25e-5, 6e-5)

    eps: Positive = 1e-3
    """How far to look: candidates at theta + eps z, then theta +- eps times the guiding vector."""
    pool: Annotated[int, Range(ge=2)] = 2
    """Candidates a step."""
    elite: Fraction = 0.5
    """The share of candidates whose losses are called low."""
    choose: Literal["contrast", "best"] = "contrast"
    """MeZO-GV, or MeZO-Greedy."""
    candidates: Literal["fresh", "kept"] = "fresh"
    """New ones at every step, or with the best of the step before among them (released code)."""

    def setup(self) -> None:
        if self.candidates == "kept":
            self.kept = self.buffer("kept")

    def state_of(self, shape: tuple[int, ...]) -> float:
        return float(math.prod(shape)) if self.candidates == "kept" else 0.0

    def iterate(self, losses: Losses) -> Tensor:
        again = self.candidates == "kept" and self.t > 0
        zs: list[Algebra] = [self.noise() for _ in range(self.pool - again)]
        zs += [self.freeze(self.kept)] if again else []
        seen = losses(*(self.eps * z for z in zs))
        weights = contrast(seen, self.elite) if self.choose == "contrast" else best(seen)
        first, *rest = (w * z for w, z in zip(weights, zs, strict=True))
        v = sum(rest, first)
        lp, lm = losses(+self.eps * v, -self.eps * v)
        self.descend((lp - lm) / (2 * self.eps) * v)
        if self.candidates == "kept":
            first, *rest = (w * z for w, z in zip(best(seen), zs, strict=True))
            self.kept.assign(sum(rest, first))
        return seen[0]
