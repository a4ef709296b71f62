"""The entries of small magnitude, as Sparse-MeZO moves them (Liu et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from zobench import Handle, Range, Scope, SelectionContext

from .masked import Masking, inside


class SmallWeights(Masking):
    """The entries of small magnitude: |theta| <= h, h a quantile of each tensor, of all weights or of another's choice.

    Sparse MeZO (arXiv:2402.15751), section 3.2: of every tensor the (1 - sparsity) share of smallest magnitude moves.
    `mezo` with this selector is `sparse_mezo`, bit for bit; any other estimator may have it, and
    `small_weights:first_outlier` is that part of the block. Weight decay stays inside the mask.

    Not verified: the authors' code could not be consulted. Defaults: sparsity 0.75, as later comparisons use;
      refresh="mask"       h from theta_0, the mask from the unperturbed weights of every step (the paper);
      refresh="never"      the mask of theta_0 for the whole run;
      refresh="threshold"  h and the mask from the weights of every step: the share stays exact;
      vectors="masked"     tensors that are no matrices (norms, biases) are masked like the others;
      vectors="dense"      they move whole;
      vectors="fixed"      they do not move.
    Forwards: none beside those of the other selector. Norms and embeddings are masked as any other tensor. A mask that
    follows the weights is made anew at every step.
    """

    reference: ClassVar[str] = "Liu et al. 2024, arXiv:2402.15751, Algorithm 1"
    public_code: ClassVar[str] = "NUS-HPC-AI-Lab/SparseMeZO is named, not obtainable"
    verified: ClassVar[bool | None] = False
    turns: ClassVar[bool] = True

    sparsity: Annotated[float, Range(ge=0, lt=1)] = 0.75
    """Share of each tensor, the largest magnitudes, that stays."""
    refresh: Literal["mask", "never", "threshold"] = "mask"
    """What is evaluated anew at every step (see above)."""
    vectors: Literal["masked", "dense", "fixed"] = "masked"
    """What happens to tensors that are no matrices (see above)."""

    def select(self, context: SelectionContext) -> Scope:
        """That part of the scope."""
        scope = self.within(context)
        named = [(n, p) for n, p in scope.named if p.ndim == 2 or self.vectors != "fixed"]
        masked = {n for n, p in named if p.ndim == 2 or self.vectors == "masked"}
        h = {n: quantile(p.data, self.sparsity) for n, p in named if n in masked}
        if self.refresh == "never":
            masks = {n: small(p.data, h[n]) if n in masked else torch.ones_like(p, dtype=torch.bool) for n, p in named}
            return inside(scope, masks)
        return _Following(scope, dict(named), h, self.sparsity if self.refresh == "threshold" else None)


def quantile(values: Tensor, sparsity: float) -> Tensor:
    """The (1 - sparsity) quantile of |values|, 0-dim; by selection: torch.quantile refuses more than 2^24 entries."""
    k = max(1, round((1 - sparsity) * values.numel()))
    return values.abs().flatten().kthvalue(k).values


def small(values: Tensor, h: Tensor) -> Tensor:
    """Where |values| <= h (bool)."""
    return values.abs() <= h


class _Following(Scope):
    """A scope whose masks are of the weights as they are at the start of a step.

    A function of the step and of the weights at it, so that a replay, which has these, finds the same. h: thresholds
    by name; tensors without one are whole. sparsity: thresholds anew at every step, for that share.
    """

    def __init__(self, scope: Scope, named: Mapping[str, Tensor], h: dict[str, Tensor], sparsity: float | None) -> None:
        super().__init__(named.items(), layers=scope.layers)
        self._scope, self._h, self._sparsity = scope, h, sparsity

    def active(self, step: int) -> Callable[[str], bool]:
        return self._scope.active(step)

    def mask(self, p: Handle, step: int) -> Tensor | None:
        inner = self._scope.mask(p, step)
        if p.name not in self._h:
            return inner
        theta = p.data
        own = small(theta, self._h[p.name] if self._sparsity is None else quantile(theta, self._sparsity))
        return own if inner is None else inner & own

    def numel(self) -> int:
        """Entries that may move at the start."""
        masks = ((p, self.mask(Handle(name, p, {}), 0)) for name, p in self.named)
        return sum(p.numel() if mask is None else int(mask.sum()) for p, mask in masks)
