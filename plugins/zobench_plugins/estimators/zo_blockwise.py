"""Block-wise descent of ZO-Bench, Zhang et al. 2024."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from torch import Tensor

from zobench import Estimator, Losses, Positive

_BLOCK = re.compile(r"(?:^|\.)(\d+)(?:\.|$)")


def block_of(name: str) -> str:
    """The block that a tensor belongs to, by its name: the first number in it, else the module that it is of."""
    found = _BLOCK.search(name)
    return found[1] if found else name.rpartition(".")[0] or name


class ZOBlockwise(Estimator):
    """A slope of its own for every block: in each step all blocks look along their own direction and move by it.

    Paper: Revisiting Zeroth-Order Optimization for Memory-Efficient LLM Fine-Tuning (arXiv:2402.11592), section 5,
    block-wise descent: for each block b:  z_b ~ N(0, I) on b alone;  c_b = [L(theta + eps z_b) - L(theta - eps z_b)] /
    (2 eps); theta_b <- theta_b - lr c_b z_b.  MeZO has one slope for all blocks together, whose noise grows with them.

      order="in_turn"    a block has moved when the next one looks (the released code);
      order="together"   all look from the same weights, then all move.

    A block is a decoder block; each module outside of them (embeddings, final norm, an output layer of its own) is one
    more, as in the released code, of which that is verified (zo-bench/trainer.py and utils.py at bf210fa, its level
    "transformer-block"; it has OPT's modules by name and leaves out the projections of OPT-350M). Over one block it is
    MeZO. Defaults: eps 1e-3; learning rates: the released 1e-8 (README), and up to ten times MeZO's.

    Forwards a step: two for every block. State: none.

    Public code: all blocks draw from the same seed, so that tensors of one shape have the same noise in every block;
    here each has its own.
    """

    reference: ClassVar[str] = "Zhang et al. 2024, arXiv:2402.11592, section 5"
    public_code: ClassVar[str] = "ZO-Bench/ZO-LLM (GPL-3.0): knows OPT's modules alone; the same noise in every block"
    verified: ClassVar[bool | None] = True
    numerics: ClassVar[int] = 2  # what lies outside of decoder blocks was two blocks, not one a module
    forwards_per_step: ClassVar[int | None] = None
    directions_per_step: ClassVar[int | None] = None
    state_per_parameter: ClassVar[float] = 0.0
    lr_grid: ClassVar[tuple[float, ...]] = (1e-8, 1e-7, 1e-6, 1e-5)
    small_lrs: ClassVar[tuple[float, ...]] = (1e-4, 1e-3)

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction of a block."""
    order: Literal["in_turn", "together"] = "in_turn"
    """Whether a block moves before the next one looks (see above)."""

    def iterate(self, losses: Losses) -> Tensor:
        shown, moves = [], []
        for block in dict.fromkeys(block_of(p.name) for p in self.active):
            z = self.noise(on=lambda p, block=block: block_of(p.name) == block)  # type: ignore[misc]
            lp, lm = losses(+self.eps * z, -self.eps * z)
            shown.append(lp)
            moves.append((lp - lm) / (2 * self.eps) * z)
            if self.order == "in_turn":
                self.descend(moves.pop())
        for move in moves:
            self.descend(move)
        return shown[0]
