"""DiZO, Tan et al. 2025."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from torch import Tensor

from zobench import Count, Estimator, Handle, Losses, Planned, Positive, Range, ZobenchError

from .mezo import MeZO


class Projection(Estimator):
    """A step of another method, and every kappa steps a search, by losses, for how far each projected tensor should
    stand from its start (Harmony in Divergence, arXiv:2502.03304; see `dizo`, which is this around mezo).

    Public code has it around MeZO alone (`verified` False around others).
    """

    verified: ClassVar[bool | None] = False
    public_code: ClassVar[str] = "Skilteee/DiZO (no licence seen): around MeZO alone"
    extra_forwards_per_step: ClassVar[float] = 0.4
    needs: ClassVar[Mapping[str, object]] = {"targets": ("",)}
    exercise: ClassVar[Mapping[str, object]] = {"kappa": 3, "inner": 2}

    kappa: Count = 50
    """Steps between projections."""
    inner: Count = 10
    """Steps of the search of a projection, 2 forwards each."""
    tau: Annotated[float, Range(gt=0, lt=1)] = 0.2
    """How far a projection may stretch or shrink the way from the start: 1 - tau to 1 + tau times."""
    eps_p: Positive = 0.1
    """How far the search looks, in units of the norm."""
    lr_p: Positive = 2.0
    """Learning rate of the search."""
    targets: tuple[str, ...] = ("q_proj.weight", "v_proj.weight", "lora_")
    """Projected are the tensors whose name has one of these in it."""

    @classmethod
    def check(cls, settings: Mapping[str, Any], planned: Planned) -> None:
        """ZobenchError where no tensor is called so."""
        super().check(settings, planned)
        names, targets = planned.names, settings["targets"]
        if names and not any(target in name for name in names for target in targets):
            raise ZobenchError(_nothing(targets, "model", names[0]))

    def projected(self, p: Handle) -> bool:
        """Whether this tensor is one of those."""
        return any(t in p.name for t in self.targets)

    def setup(self) -> None:
        super().setup()
        if not any(map(self.projected, self.handles)):
            raise ZobenchError(_nothing(self.targets, "scope", self.handles[0].name))
        self.start = self.buffer("start", init=lambda p: p.data.clone(), on=self.projected)
        self.start.allocate(self.handles)

    def state_of(self, shape: tuple[int, ...]) -> float:
        return super().state_of(shape) + math.prod(shape)

    def iterate(self, losses: Losses) -> Tensor:
        shown = super().iterate(losses)
        if (self.t + 1) % self.kappa == 0 and any(map(self.projected, self.active)):
            self.project(losses)
        return losses.seen()[0] if shown is None else shown

    def project(self, losses: Losses) -> None:
        """Search gamma, and go there."""
        delta = self.compute(lambda p: p.data.to(p.dtype) - self.start[p].to(p.dtype), on=self.projected, name="delta")
        norm = self.freeze(delta.map(lambda d: d.norm().clamp(min=1e-12)), name="norm")
        gamma, most = self.freeze(norm, name="gamma"), self.tau / self.eps_p * norm
        for _ in range(self.inner):
            z = self.noise(shape=lambda p: (), on=self.projected).clamp(-most, most)
            looks = (((gamma + sign * self.eps_p * z) / norm - 1) * delta for sign in (1, -1))
            lp, lm = losses.fresh()(*looks)
            c = (lp - lm) / (2 * self.eps_p)
            gamma.assign((gamma - self.lr_p * c * (norm * z)).clamp((1 - self.tau) * norm, (1 + self.tau) * norm))
        self.move((gamma / norm - 1) * delta)


class DiZO(Projection, MeZO):
    """MeZO, and every kappa steps a search, by losses, for how far each projected tensor should stand from its start.

    Paper: Harmony in Divergence (arXiv:2502.03304), the zeroth-order projection of its algorithm. theta_0: the
    weights at the start. After the move of every kappa-th step, for each projected tensor i: Delta_i = theta_i -
    theta_0i;  gamma_i = |Delta_i|;  `inner` times, each on a further batch:
    z_i ~ N(0, 1), clipped to +- tau |Delta_i| / eps_p;
    c = [L(gamma + eps_p z) - L(gamma - eps_p z)] / (2 eps_p), L at theta_0i + gamma_i Delta_i / |Delta_i|;
    gamma_i <- clip(gamma_i - lr_p |Delta_i| c z_i, (1 - tau) |Delta_i|, (1 + tau) |Delta_i|);
    then theta_i <- theta_0i + gamma_i Delta_i / |Delta_i|.

    Defaults: kappa 50, inner 10, tau 0.2, eps_p 0.1, lr_p 2.0, eps 1e-3, lr 1e-6 and 1e-7 (released script). Forwards a
    step: 2, and 2 inner / kappa = 0.4 on further batches, which a record counts apart (`extra`). State: the start of
    the projected tensors, in the weights' dtype (of queries and values a sixth of a LLaMA); in a step that projects,
    also one fp32 copy of them. It needs an objective with further batches (zobench.Objective).

    Public code: it projects keys and values, targets=k_proj.weight,v_proj.weight, where the paper has queries and
    values; in LoRA all adapters. On models that are no OPT it finds no tensor and is MeZO without a word; here that is
    an error. It takes the embedding out of what moves, with DiZO or without: its MeZO rows are another method. It
    restores by multiplying and dividing, which drifts, and its weights at gamma = 0 are divided by 0.
    """

    reference: ClassVar[str] = "Tan et al. 2025, arXiv:2502.03304"
    public_code: ClassVar[str] = (
        "Skilteee/DiZO (no licence seen): projects keys and values, nothing on models that are no OPT; leaves the "
        "embedding out"
    )
    verified: ClassVar[bool | None] = True
    forwards_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 5e-7, 1e-6, 5e-6)
    extra_forwards_per_step: ClassVar[float] = 0.4
    state_per_parameter: ClassVar[float] = 0.0  # of the step; the starts are counted by state_of
    around: ClassVar[type[Estimator] | None] = Projection
    neutral: ClassVar[Mapping[str, object] | None] = {"kappa": 10**9}
    needs: ClassVar[Mapping[str, object]] = {"targets": ("",)}
    exercise: ClassVar[Mapping[str, object]] = {"kappa": 3, "inner": 2}


def _nothing(targets: Sequence[str], of: str, there: str) -> str:
    return (
        f"dizo: no tensor of the {of} has {' or '.join(targets)} in its name; set dizo.targets to parts of names that "
        f"are there, such as {there}"
    )
