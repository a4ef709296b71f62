"""Sparse-MeZO, Liu et al. 2024."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from zobench import Estimator, Handle, Losses, Planned, Positive, Range, ZobenchError

DECAYS = (
    "sparse_mezo: weight decay would move entries outside the mask; set it to 0, or take mezo with the selector "
    "small_weights, whose mask holds for it too"
)


class SparseMeZO(Estimator):
    """MeZO on the entries of small magnitude: d = m * z with m = [|theta| <= h], h a quantile of each tensor.

    Paper: Sparse MeZO (arXiv:2402.15751), section 3.2 and Algorithm 1. Of every tensor the (1 - sparsity) share of
    smallest magnitude moves; h is that quantile of |theta_0|. The mask is of the unperturbed weights, also where the
    paper computes it inside the forward pass (y = (theta + eps m(theta) z) x + b): it is evaluated once a step, at
    theta_t, and is the same in both looks and the move. It is `mezo` with `--selector small_weights`.

    Weight decay would move the entries outside the mask, which rest in the paper's step: it is refused. The selector's
    mask holds for the decay too.

    Defaults: sparsity 0.75, eps 1e-3 and the learning rates of the grid are those that later comparisons use; the
    authors' code could not be consulted, so what it does where the paper is silent is unknown (`verified` False):
      refresh="mask"       h from theta_0, the mask from theta_t at every step (the paper);
      refresh="never"      the mask of theta_0 for the whole run (one byte of state a parameter);
      refresh="threshold"  h and the mask from theta_t at every step: the active share stays exact;
      vectors="masked"     tensors that are no matrices (norms, biases) are masked like the others (the paper's box);
      vectors="dense"      they move whole;
      vectors="fixed"      they do not move.
    The embedding counts as a matrix. Forwards a step: 2. State: one threshold a tensor (or the mask).
    """

    reference: ClassVar[str] = "Liu et al. 2024, arXiv:2402.15751, Algorithm 1"
    public_code: ClassVar[str] = "NUS-HPC-AI-Lab/SparseMeZO is named, not obtainable"
    state_per_parameter: ClassVar[float] = 0.0
    forwards_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (5e-7, 1e-6, 2e-6, 5e-6)
    small_lrs: ClassVar[tuple[float, ...]] = (2e-4, 1e-3)
    verified: ClassVar[bool | None] = False
    neutral: ClassVar[Mapping[str, object] | None] = {"sparsity": 0.0, "refresh": "threshold"}

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""
    sparsity: Annotated[float, Range(ge=0, lt=1)] = 0.75
    """Share of each tensor, the largest magnitudes, that stays."""
    refresh: Literal["mask", "never", "threshold"] = "mask"
    """What is evaluated anew at every step (see above)."""
    vectors: Literal["masked", "dense", "fixed"] = "masked"
    """What happens to tensors that are no matrices (see above)."""

    @classmethod
    def check(cls, settings: Mapping[str, Any], planned: Planned) -> None:
        """ZobenchError for weight decay."""
        super().check(settings, planned)
        if planned.weight_decay:
            raise ZobenchError(DECAYS)

    def setup(self) -> None:
        if any(group["weight_decay"] for group in self.param_groups):
            raise ZobenchError(DECAYS)
        if self.refresh == "never":
            self.mask = self.buffer("mask", init=lambda p: self.small(p, self.quantile(p)))
            self.mask.allocate(self.handles)
        elif self.refresh == "mask":
            self.h = self.buffer("h", init=self.quantile)
            self.h.allocate(self.handles)

    def quantile(self, p: Handle) -> Tensor:
        """The (1 - sparsity) quantile of |theta|; by selection, since torch.quantile refuses more than 2^24 entries."""
        k = max(1, round((1 - self.sparsity) * p.data.numel()))
        return p.data.abs().flatten().kthvalue(k).values

    def small(self, p: Handle, h: Tensor) -> Tensor:
        """The mask of one tensor (bool)."""
        if p.ndim == 2 or self.vectors == "masked":
            return p.data.abs() <= h
        return torch.full_like(p.data, self.vectors == "dense", dtype=torch.bool)

    def now(self, p: Handle) -> Tensor:
        """The mask of one tensor at theta, by the threshold that `refresh` asks for."""
        return self.small(p, self.h[p] if self.refresh == "mask" else self.quantile(p))

    def iterate(self, losses: Losses) -> Tensor:
        m = self.mask if self.refresh == "never" else self.compute(self.now, name="mask")
        d = m * self.noise()
        lp, lm = losses(+self.eps * d, -self.eps * d)
        c = (lp - lm) / (2 * self.eps)
        self.descend(c * d)
        return lp
