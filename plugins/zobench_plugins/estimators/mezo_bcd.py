"""MeZO-BCD, Park et al. 2025."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from zobench import Count, Estimator, Losses, Positive

_NUMBER = re.compile(r"(?:^|\.)(\d+)(?:\.|$)")


@functools.cache
def block_of(name: str) -> str:
    """The block that a tensor belongs to, by its name: the first number in it (`model.layers.3.mlp...` is of block 3,
    whole or adapted), else `embed` where the name has this, else `rest` (final norm, head).
    """
    found = _NUMBER.search(name)
    return found[1] if found else "embed" if "embed" in name else "rest"


class MeZOBCD(Estimator):
    """MeZO on one block a step: looks and move are of that block's tensors alone, and the blocks take turns.

    Paper: Elucidating Subspace Perturbation in Zeroth-Order Optimization (arXiv:2501.19099), MeZO-BCD. Of the blocks
    B_1, ..., B_N one, b, is active in a step:  z ~ N(0, I) on B_b, 0 elsewhere;
    c = [L(theta + eps z) - L(theta - eps z)] / (2 eps);  theta <- theta - lr c z.
    Perturbing and updating cost 1/N of MeZO's; the forwards are the same.

    A block is a decoder block; the tensors outside of them are two more (see `block_of`). The whole text and the
    authors' code could not be consulted (`verified` False): the partition, the order and the learning rates are ours.
      order="shuffled"   a new random order for every pass over the blocks;
      order="cyclic"     from the first to the last;
      order="uniform"    every step draws anew, whatever came before. With N times the lr this is adalezo's uniform
                         limit (its weights are N for one drawn block).

    Defaults: eps 1e-3, one block. Learning rates: a step moves 1/N of the coordinates, along a slope with 1/N of the
    mean square, so that N times MeZO's lr makes MeZO's expected progress; the grid goes from MeZO's values (which is
    right for a scope of one block, where both are the same method) to about 32 times them. Forwards a step: 2.
    State: none.
    """

    reference: ClassVar[str] = "Park et al. 2025, arXiv:2501.19099, MeZO-BCD"
    public_code: ClassVar[str] = "none found"
    state_per_parameter: ClassVar[float] = 0.0
    forwards_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (1e-6, 5e-6, 3e-5, 2e-4)
    small_lrs: ClassVar[tuple[float, ...]] = (5e-4, 2e-3)
    verified: ClassVar[bool | None] = False
    neutral: ClassVar[Mapping[str, object] | None] = {"blocks": 1_000_000}

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""
    blocks: Count = 1
    """Blocks a step; as many as there are, or more: all of them, which is MeZO."""
    order: Literal["shuffled", "cyclic", "uniform"] = "shuffled"
    """Whose turn it is (see above)."""

    def chosen(self) -> set[str]:
        """The blocks of this step."""
        names = list(dict.fromkeys(block_of(p.name) for p in self.active))
        turns = -(-len(names) // self.blocks)  # steps of one pass
        turn = 0 if self.order == "uniform" else self.t % turns
        if self.order != "cyclic":
            dice = self.generator("blocks", every=turns if self.order == "shuffled" else 1)
            names = [names[i] for i in torch.randperm(len(names), generator=dice).tolist()]
        return set(names[turn * self.blocks : (turn + 1) * self.blocks])

    def iterate(self, losses: Losses) -> Tensor:
        chosen = self.chosen()
        z = self.noise(on=lambda p: block_of(p.name) in chosen)
        lp, lm = losses(+self.eps * z, -self.eps * z)
        c = (lp - lm) / (2 * self.eps)
        self.descend(c * z)
        return lp
