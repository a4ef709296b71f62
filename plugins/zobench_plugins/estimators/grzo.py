"""GRZO, Tan et al. 2026."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from zobench import Direction, Estimator, Handle, Losses, Planned, Positive, ZobenchError, matrices, vectors, wide

ALONE = (
    "grzo compares the examples of a batch, and one has a single example: choose a batch size that leaves none alone, "
    "or relative=false"
)


class GRZO(Estimator):
    """A direction of its own for each example of the batch; examples weigh by their slope against the group's spread.

    Paper: GRZO: Group-Relative Zeroth-Order Optimization (arXiv:2606.02857). On a matrix z_i = U * (r_i s_i^T), with
    one Gaussian U (m, n) for all B examples, and signs r_i (m), s_i (n) for each;
    delta_i = [L(theta + eps z_i; i) - L(theta - eps z_i; i)] / 2;  a_i = delta_i / (std(delta) + floor), without the
    mean being taken off;  theta <- theta - lr sum_i a_i z_i / (2 eps B).  std divides by B - 1. Norms (their weights
    and biases) get signs of each example alone, without U. Embeddings get signs entry by entry in the place of U, and
    one sign a row and example. Biases of linear layers rest. `relative` False is a control: the plain mean of the B
    estimates, a_i = 2 delta_i.

    Defaults: eps 1e-3 (the released sigma), floor 1e-8 (released). Learning rates: a step has a root mean square of
    about lr / (2 eps sqrt(B)); the released one is 1e-7. Forwards a step: 2 over the batch. State: none.
    Not the released method in two things (`verified` False): an estimator here knows no tokens, so that all rows of an
    embedding move, where the released code moves those of the batch's tokens, each by the sum over its occurrences;
    and an example has one direction for all its answers, where the code has one for each answer's row.

    Every example is passed over alone, at weights of its own: 2 B passes over the weights a step, where the paper's
    method makes U (s * x) * r inside each layer for the whole batch at once. Seconds are this implementation's, not the
    method's; forwards and the mathematics are. A batch of one example has no group: ZobenchError.
    """

    own_directions: ClassVar[str] = "each example has signs of its own on one matrix of noise"
    reference: ClassVar[str] = "Tan et al. 2026, arXiv:2606.02857"
    public_code: ClassVar[str] = (
        "LiyanTan111/GRZO-public (MIT): its signs are the last bits of linear hashes of the indices, so that those of "
        "norms and embeddings repeat"
    )
    state_per_parameter: ClassVar[float] = 0.0
    forwards_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (3e-8, 1e-7, 3e-7, 1e-6)
    small_lrs: ClassVar[tuple[float, ...]] = (3e-7, 3e-6)
    exercise: ClassVar[Mapping[str, object]] = {"eps": 0.1}  # the smaller eps, the longer a step at the same lr
    verified: ClassVar[bool | None] = False
    numerics: ClassVar[int] = 2  # std divided by B; norms and embeddings had U; biases of linear layers moved

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

    def setup(self) -> None:
        modules = {p.name.removesuffix("weight") for p in self.handles if linear(p) and p.name.endswith("weight")}
        self.resting = {p.name for p in self.handles if p.name.removesuffix("bias") in modules}

    def base(self) -> Direction:
        """U: Gaussian on the weights of linear layers, signs on embeddings."""
        return self.noise(on=linear) + self.noise("rademacher", on=embedding)

    def signs(self) -> tuple[Direction, Direction]:
        """Of one example: what U is multiplied with, r s^T or (embeddings) r, and the signs of norms; new each time."""
        r = self.noise("rademacher", shape=lambda p: (p.shape[0], 1), on=linear, label="r")
        s = self.noise("rademacher", shape=lambda p: (p.shape[1], 1), on=linear, label="s")
        rows = self.noise("rademacher", shape=lambda p: (p.shape[0], 1), on=embedding, label="rows")
        return r @ s.T + rows, self.noise("rademacher", on=lambda p: vectors(p) and p.name not in self.resting)

    def iterate(self, losses: Losses) -> Tensor:
        u, examples = self.base(), losses.examples()
        if len(examples) < 2 and self.relative:
            raise ZobenchError(ALONE)
        signs = [self.signs() for _ in examples]
        zs = [u * s + v for s, v in signs]
        looks = [one(+self.eps * z, -self.eps * z) for one, z in zip(examples, zs, strict=True)]
        delta = torch.stack([wide(lp) - wide(lm) for lp, lm in looks]) / 2
        a = delta / (delta.std() + self.floor) if self.relative else 2 * delta
        weights = (a / (2 * self.eps * len(examples))).unbind()
        of_u, alone = zip(*((w * s, w * v) for w, (s, v) in zip(weights, signs, strict=True)), strict=True)
        self.descend(u * sum(of_u[1:], of_u[0]) + sum(alone[1:], alone[0]))
        return torch.stack([lp for lp, _ in looks]).mean()


def embedding(p: Handle) -> bool:
    """Whether a tensor is an embedding's matrix, by its name."""
    return matrices(p) and any(word in p.name for word in ("embed", "wte", "wpe"))


def linear(p: Handle) -> bool:
    """Whether it is any other matrix."""
    return matrices(p) and not embedding(p)
