"""The model as it is: the row that every fine-tuned one is measured against."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from zobench import Estimator, Losses


class ZeroShot(Estimator):
    """No training: the run loop evaluates the model as loaded. Forwards a step: none. State: none."""

    reference: ClassVar[str] = "no training"
    public_code: ClassVar[str] = "none: nothing is trained"
    verified: ClassVar[bool | None] = True
    trains: ClassVar[bool] = False
    forwards_per_step: ClassVar[int | None] = 0
    lr_grid: ClassVar[tuple[float, ...]] = (0.0,)
    small_lrs: ClassVar[tuple[float, ...]] = (0.0,)

    def iterate(self, losses: Losses) -> Tensor:
        raise TypeError(f"{type(self).__name__} does not train: its `trains` is False, so no step may be asked of it")
