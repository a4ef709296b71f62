"""Every block tried alone for a few steps, the better ones for more: the sweep's answer at less of its price."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

from zobench import Count, Natural, Positive, Range, Scope, SelectionContext, Selector, ZobenchError

from .turns import within


class SuccessiveHalving(Selector):
    """Probe all blocks briefly, keep the best 1/eta of them, probe those eta times as long, and so on to the last.

    Jamieson and Talwalkar 2016 (arXiv:1502.07943), algorithm 1, over the blocks of exhaustive_sweep; the last round is
    as long as the sweep's runs. A block whose loss falls late only is lost early: that is the price.

    Defaults: steps as exhaustive_sweep; eta 3, as Hyperband (Li et al. 2018, arXiv:1603.06560) advises 3 or 4, where
    the algorithm is named for 2.
    Forwards: in round k of R, arms_k (steps_k * step + dev) with steps_k = steps / eta^(R-1-k); probes begin anew in
    every round. For 32 blocks 32, 11, 4 and 2 of them are probed: 18% of the sweep's training forwards, and half as
    many dev evaluations again. Embeddings, head and final norm do not move, as in the dominant layer.
    """

    reference: ClassVar[str] = "Jamieson and Talwalkar 2016, arXiv:1502.07943, algorithm 1"
    public_code: ClassVar[str] = "none consulted"
    verified: ClassVar[bool | None] = True
    exercise: ClassVar = {"steps": 4}
    presets: ClassVar = {"smoke": {"steps": 4}, "small": {"steps": 8}}

    steps: Count = 200
    """Training steps of the last round's probes."""
    eta: Annotated[int, Range(ge=2)] = 3
    """How much fewer blocks, and how much longer probes, a round has than the one before."""
    lr: Positive | None = None
    """Of the short runs; none: the first of the cell's learning rates."""
    blocks: tuple[Natural, ...] = ()
    """The blocks to try; none named: all of them."""

    def check(self, blocks: int) -> None:
        """ZobenchError for a block that the model does not have."""
        within("successive_halving.blocks", self.blocks, blocks)

    def select(self, context: SelectionContext) -> Scope:
        """The block that is left; of equal ones the earlier. ZobenchError where training diverged on all of a round."""
        left = sorted(set(self.blocks)) or [block.index for block in context.blocks]
        context.layers(*left)  # told before anything is tried
        told: list[dict[str, Any]] = []
        for arms, steps in self.rounds(len(left)):
            losses = {i: context.probe(context.layers(i), steps, self.lr).dev_loss for i in left[:arms]}
            told.append({"steps": steps, "dev_loss": {str(i): _finite(loss) for i, loss in losses.items()}})
            context.note(rounds=told)
            sane = sorted((loss, i) for i, loss in losses.items() if math.isfinite(loss))
            if not sane:
                raise ZobenchError(
                    f"successive_halving: all {len(losses)} blocks of a round diverged; set a lower "
                    "successive_halving.lr"
                )
            left = [i for _, i in sane]
        context.note(chosen=left[0])
        return context.layers(left[0])

    def rounds(self, blocks: int) -> list[tuple[int, int]]:
        """(blocks, steps) of each round; no rounds where there is one block."""
        arms: list[int] = []
        while blocks > 1:
            arms.append(blocks)
            blocks = math.ceil(blocks / self.eta)
        last = len(arms) - 1
        return [(n, max(1, round(self.steps / self.eta ** (last - k)))) for k, n in enumerate(arms)]

    def expected_forwards(self, blocks: int, step: int, dev: int) -> int:
        """Training and one dev loss for each probe; fewer where blocks diverge."""
        return sum(n * (steps * step + dev) for n, steps in self.rounds(len(set(self.blocks)) or blocks))


def _finite(loss: float) -> float | None:
    """JSON knows no infinity: a diverged probe has no loss."""
    return loss if math.isfinite(loss) else None
