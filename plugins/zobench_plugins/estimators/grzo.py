"""GRZO, Tan et al. 2026."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from zobench import Direction, Estimator, Losses, Planned, Positive, ZobenchError, matrices, vectors

ALONE = (
    "grzo compares the examples of a batch, and one has a single example: choose a batch size that leaves none alone, "
    "or relative=false"
)


class GRZO(Estimator):
    """A direction of its own for each example of the batch; examples weigh by their slope against the group's spread.

    Paper: GRZO: Group-Relative Zeroth-Order Optimization (arXiv:2606.02857). On a matrix z_i = U * (r_i s_i^T), with
    one Gaussian U (m, n) for all B examples, and signs r_i (m), s_i (n) for each;
    delta_i = L(theta + eps z_i; i) - L(theta - eps z_i; i);  a_i = delta_i / (std(delta) + floor);
    theta <- theta - lr sum_i a_i z_i / (2 eps B).  std divides by B. On tensors that are no matrices the signs are
    drawn entry by entry. `relative` False has a_i = delta_i: the plain mean of B estimates, without the division.

    No code was found, and of the paper the equations alone were known to us: eps (its sigma), floor, and what it does
    to tensors that are no matrices are guesses (`verified` False). Defaults: eps 1e-3 (MeZO's), floor 1e-8.
    Learning rates: a step has a root mean square of about lr / (2 eps sqrt(B)); those here give, at batches of 16,
    that of fzoo's grid and around. Forwards a step: 2 over the batch. State: none.

    Every example is passed over alone, at weights of its own: 2 B passes over the weights a step, where the paper's
    method makes U (s * x) * r inside each layer for the whole batch at once. Seconds are this implementation's, not the
    method's; forwards and the mathematics are. A batch of one example has no group: ZobenchError.
    """

    reference: ClassVar[str] = "Tan et al. 2026, arXiv:2606.02857"
    public_code: ClassVar[str] = "none found"
    state_per_parameter: ClassVar[float] = 0.0
    forwards_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (3e-8, 1e-7, 3e-7, 1e-6)
    small_lrs: ClassVar[tuple[float, ...]] = (3e-7, 3e-6)
    exercise: ClassVar[Mapping[str, object]] = {"eps": 0.1}  # the smaller eps, the longer a step at the same lr
    verified: ClassVar[bool | None] = False

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times each direction."""
    floor: Positive = 1e-8
    """Added to the deviation of the examples' differences."""
    relative: bool = True
    """Whether differences are divided by their deviation."""

    @classmethod
    def check(cls, settings: Mapping[str, Any], planned: Planned) -> None:
        """ZobenchError where some batch has one example."""
        super().check(settings, planned)
        if settings["relative"] and 1 in planned.batches():
            raise ZobenchError(f"{ALONE} ({planned.train} examples, batch_size={planned.batch_size})")

    def signs(self) -> Direction:
        """Signs r s^T on matrices, of every entry on all others; new at every call."""
        r = self.noise("rademacher", shape=lambda p: (p.shape[0], 1), on=matrices, label="r")
        s = self.noise("rademacher", shape=lambda p: (p.shape[1], 1), on=matrices, label="s")
        return r @ s.T + self.noise("rademacher", on=vectors)

    def iterate(self, losses: Losses) -> Tensor:
        u, examples = self.noise(), losses.examples()
        if len(examples) < 2 and self.relative:
            raise ZobenchError(ALONE)
        signs = [self.signs() for _ in examples]
        looks = [one(+self.eps * (u * s), -self.eps * (u * s)) for one, s in zip(examples, signs, strict=True)]
        delta = torch.stack([lp.double() - lm.double() for lp, lm in looks])
        a = delta / (delta.std(correction=0) + self.floor) if self.relative else delta
        weights = (a / (2 * self.eps * len(examples))).unbind()
        first, *rest = (w * s for w, s in zip(weights, signs, strict=True))
        self.descend(u * sum(rest, first))
        return torch.stack([lp for lp, _ in looks]).mean()
