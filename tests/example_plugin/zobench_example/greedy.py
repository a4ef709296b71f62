"""An estimator of its own."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor

from zobench import Estimator, Losses, Positive, Range


class Greedy(Estimator):
    """The steepest of n one-sided looks, measured again from both sides.

    Source: made up for this example. Forwards a step: n + 3. State: none.
    """

    lr_grid: ClassVar[tuple[float, ...]] = (1e-6,)

    eps: Positive = 1e-3
    n: Annotated[int, Range(ge=2)] = 3

    def iterate(self, losses: Losses) -> Tensor:
        zs = [self.noise("rademacher") for _ in range(self.n)]
        base, *looks = losses(0, *(self.eps * z for z in zs))
        steepest = zs[int(torch.stack([(look - base).abs() for look in looks]).argmax())]
        self.descend(losses.slope(steepest, self.eps) * steepest)
        return base
