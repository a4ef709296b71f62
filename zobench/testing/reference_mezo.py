"""MeZO as the checks have it, to hold methods at their neutral settings and schedules of selectors against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from ..estimator.estimator import Estimator
from ..estimator.losses import Losses


class ReferenceMeZO(Estimator):
    """What a method at neutral settings must equal (Malladi et al. 2023, Algorithm 1)."""

    forwards_per_step: ClassVar[int | None] = 2
    eps: float = 1e-3

    def iterate(self, losses: Losses) -> Tensor:
        z = self.noise()
        lp, lm = losses(+self.eps * z, -self.eps * z)
        self.descend((lp - lm) / (2 * self.eps) * z)
        return lp


def neutral_of(cls: type[Estimator]) -> Mapping[str, Any] | None:
    """The settings at which the class says it is MeZO. Not inherited by a class that writes its own `iterate`."""
    for base in cls.__mro__:
        if "neutral" in vars(base):
            found: Mapping[str, Any] | None = vars(base)["neutral"]
            return found
        if "iterate" in vars(base):
            return None
    return None
