"""ZO-Act, Dong et al. 2026."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from zobench import Count, Handle, Losses, Planned, Positive, ZobenchError, matrices

from ..directions.tezo import FOREVER
from .adam import Adam
from .subzero import orthonormal


def leading_inputs(rank: int, p: Handle, x: Tensor) -> Tensor:
    """A (in, r): the right singular vectors of the largest values of the inputs `x` (tokens, in), r at most `in`."""
    found: Tensor = torch.linalg.svd(x.to(p.dtype), full_matrices=False).Vh[:rank].mT
    if found.shape[1] < min(rank, x.shape[1]):
        found = torch.nn.functional.pad(found, (0, min(rank, x.shape[1]) - found.shape[1]))
    return found.contiguous()


class ZOAct(Adam):
    """Linear layers move in the span of what entered them at first: W + C A^T, with ZO-Adam on C.

    Paper: ZO-Act: Efficient Zeroth-Order Fine-Tuning via One-Shot Activation-Informed Low-Rank Subspaces
    (arXiv:2607.01125).  A (n, r): of every linear layer the r leading right singular vectors of its inputs at the first
    step's weights (of the tokens that `agzo` looks at), found once and held;  C (m, r) = 0 at first;  R ~ N(0, 1);
    c = [L(C + eps R) - L(C - eps R)] / (2 eps);  C <- C - lr Adam(c R).  All other tensors stay.

    Defaults: rank 1 (that the smallest rank did best in the paper is reported by others), Adam's betas 0.9 and 0.999,
    eps 1e-3, learning rates zo_adam's: not the paper's, of which the abstract and others' summaries were to be had
    (`verified` False). A is of one further batch, counted as extra. Forwards a step: 2. State: A, and two moments
    of C, r (n + 2 m) fp32 values a matrix. The first step does not fit the replay log. What is no nn.Linear, as GPT-2's
    Conv1D, embeddings and tensors that hold all experts of a block, stays.

    basis="random" is the control for what activations add: A orthonormal at random, of every matrix.
    """

    own_directions: ClassVar[str] = (
        "they are in its subspace; other estimators take directions=agzo, anew at every step"
    )
    reference: ClassVar[str] = "Dong et al. 2026, arXiv:2607.01125"
    public_code: ClassVar[str] = "none found"
    verified: ClassVar[bool | None] = False
    forwards_per_step: ClassVar[int | None] = 2
    state_per_parameter: ClassVar[float] = 0.0
    lr_grid: ClassVar[tuple[float, ...]] = (1e-4, 1e-3, 1e-2)
    small_lrs: ClassVar[tuple[float, ...]] = (1e-3, 1e-2)
    exercise: ClassVar[Mapping[str, object]] = {"basis": "random", "rank": 2}
    numerics: ClassVar[int] = 2  # inputs were of padding and the last tokens of rows too
    numerics_where: ClassVar[Mapping[str, object]] = {"basis": "inputs"}

    eps: Positive = 1e-3
    """How far to look: the looks are at C +- eps R."""
    rank: Count = 1
    """Columns of A, where a layer has as many inputs."""
    basis: Literal["inputs", "random"] = "inputs"
    """Whether A is of a layer's inputs or random (see above)."""

    @classmethod
    def check(cls, settings: Mapping[str, Any], planned: Planned) -> None:
        """ZobenchError for what passes through no linear layer: prefixes, prompts and scales."""
        super().check(settings, planned)
        if planned.parameterisation in ("prefix", "prompt", "scales"):
            raise ZobenchError(
                f"zo_act moves linear layers along what enters them, and parameterisation {planned.parameterisation} "
                "trains none; use parameterisation full or lora, or other directions"
            )
        if planned.names and not planned.linear and settings["basis"] == "inputs":
            raise ZobenchError(
                "zo_act moves torch.nn.Linear layers along what enters them, and of what could move here none is one "
                "(GPT-2's are Conv1D); use parameterisation lora, basis=random, or other directions"
            )

    def setup(self) -> None:
        rank = self.rank  # not self: buffers may not keep their estimator alive
        self.a = self.buffer("a", shape=lambda p: (p.shape[1], min(rank, p.shape[1])), on=matrices)
        self.m = self.buffer("m", shape=lambda p: (p.shape[0], min(rank, p.shape[1])), on=matrices)
        self.v = self.buffer("v", shape=lambda p: (p.shape[0], min(rank, p.shape[1])), on=matrices)
        self.n = self.buffer("n", shape=lambda p: (), on=matrices)
        self.known = self.buffer("known", shape=lambda p: (), on=matrices)

    def state_of(self, shape: tuple[int, ...]) -> float:
        return min(self.rank, shape[1]) * (shape[1] + 2 * shape[0]) if len(shape) == 2 else 0.0

    def find(self, losses: Losses) -> None:
        """A of the linear layers that move for the first time."""
        here = [p for p in self.active if matrices(p)]
        start = self.noise(
            shape=lambda p: (p.shape[1], min(self.rank, p.shape[1])), on=matrices, every=FOREVER, label="a"
        )
        if here and bool(torch.stack([self.known[p].to(here[0].param.device) for p in here]).all()):
            return
        if self.basis == "random":
            found = self.freeze(start.map(orthonormal))
        else:
            _, found = losses.fresh().with_inputs(partial(leading_inputs, self.rank))
        if not any(p in found for p in here):
            raise ZobenchError("zo_act moves linear layers alone, and the scope has none: choose one that has")
        for p in here:
            if p in found and not bool(self.known[p]):
                self.a[p].copy_(found[p])
            self.known[p].fill_(1)

    def iterate(self, losses: Losses) -> Tensor:
        self.find(losses)
        r = self.noise(shape=lambda p: (p.shape[0], min(self.rank, p.shape[1])), on=matrices, label="r")
        lp, lm = losses(+self.eps * (r @ self.a.T), -self.eps * (r @ self.a.T))
        c = (lp - lm) / (2 * self.eps)
        self.descend(self.preconditioned(c * r) @ self.a.T)
        return lp
