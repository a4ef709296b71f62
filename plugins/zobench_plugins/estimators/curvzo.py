"""CurvZO, Wang et al. 2026."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from zobench import Estimator, Losses, Natural, Positive, Range, wide

from .norms import squares

Share = Annotated[float, Range(gt=0, le=1)]


def inclusion(scores: Tensor, count: int) -> Tensor:
    """pi_i = min(1, x s_i) with the x at which they sum to `count`, but no pi is above 1: (N,), float64."""
    s = scores / scores.sum()
    low, high = 0.0, 1.0 / float(s.max())
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if float((middle * s).clamp(max=1).sum()) > count else (middle, high)
    return (low * s).clamp(max=1)


class Scored(Estimator):
    """Scores of the tensors, a share of which a step draws by them: what `curvzo` and `curvzo+...` have in common."""

    share: Share = 0.4
    """Share of the tensors that a step draws, at first."""
    follow: Share = 0.1
    """Weight of what is new in the running means."""
    every: Natural = 20
    """Steps between adaptations of the share; 0: it stays."""

    def setup(self) -> None:
        super().setup()
        self.keeper = keeper = self.handles[0]  # two numbers are kept beside it, whether it moves or not
        self.score = self.buffer("tensor_score", init=0.01, shape=lambda p: ())
        self.mean_slope = self.buffer("mean_slope", init=1e-8, shape=lambda p: (), on=lambda p: p is keeper)
        self.share_now = self.buffer("share_now", init=self.share, shape=lambda p: (), on=lambda p: p is keeper)

    def known(self) -> tuple[Tensor, float]:
        """The scores of the tensors of this step, (N,), float64, on the CPU, and the share: one wait for the device."""
        device = self.keeper.param.device
        kept = [self.score[p] for p in self.active] + [self.share_now[self.keeper]]
        *scores, share = torch.stack([x.to(device) for x in kept]).cpu().double().unbind()
        return torch.stack(scores).clamp(min=1e-12), float(share)

    def drawn(self) -> dict[str, float]:
        """Tensor -> pi of those that this step draws."""
        n, (scores, share) = len(self.active), self.known()
        pi = inclusion(scores, max(1, min(n, int(n * share + 1e-9))))
        on = torch.rand(n, generator=self.generator("tensors"), dtype=torch.float64) < pi
        if not bool(on.any()):
            on[int(pi.argmax())] = True
        return {p.name: float(x) for p, x, yes in zip(self.active, pi, on, strict=True) if yes}

    def learn(self, c: Tensor, energies: Mapping[str, Tensor | float]) -> None:
        """The running means take in this slope, and the scores of the drawn tensors their part of it."""
        g = self.mean_slope[self.keeper]
        g.lerp_(c.to(g), self.follow)
        parts = {name: torch.as_tensor(e).to(g) for name, e in energies.items()}
        total = torch.stack(list(parts.values())).sum()
        for p in self.active:
            if p.name in parts:
                part = (c.to(g) / g) * parts[p.name] / total
                self.score[p].lerp_(part.to(self.score[p]), self.follow)
        if self.every and self.t % self.every == 0:
            self.adapt()

    def adapt(self) -> None:
        """The share follows the scores."""
        w, _ = self.known()
        n, q = len(w), w / w.sum()
        effective = float(w.sqrt().sum() ** 2 / w.sum()) / n
        entropy = -float((q * q.log()).sum()) / math.log(n) if n > 1 else 1.0
        raw = 0.1 + 0.7 * (0.7 * effective + 0.3 * (1 - entropy))
        now = self.share_now[self.keeper]
        now.lerp_(torch.full_like(now, raw), 0.1).clamp_(0.1, 0.8)


class TensorDraws(Scored):
    """A step of another method on some tensors, drawn by scores of their curvature, weighed by how seldom they are.

    CurvZO (arXiv:2603.21725) around other methods; see `curvzo`. What the other method looks along is confined to the
    drawn tensors, and its moves are multiplied by 1 / pi. In the place of |c| is the spread of the losses that the step
    saw, and in that of |z_i|^2 its mean, the tensor's size. No paper has this (`verified` False).
    """

    verified: ClassVar[bool | None] = False
    public_code: ClassVar[str] = "none"

    def iterate(self, losses: Losses) -> Tensor | None:
        pi = self.drawn()
        before = len(losses.seen())
        self.confine({name: 1 / x for name, x in pi.items()})
        shown = super().iterate(losses)
        seen = torch.stack([wide(loss) for loss in losses.seen()[before:]])
        sizes = {p.name: p.shape.numel() for p in self.active}
        self.learn(seen.max() - seen.min(), {name: sizes[name] / x**2 for name, x in pi.items()})
        return shown


class CurvZO(Scored):
    """MeZO on some tensors a step, drawn by scores of their curvature, each weighted by how seldom it is drawn.

    Paper: CurvZO: Adaptive Curvature-Guided Sparse Zeroth-Order Optimization for Efficient LLM Fine-Tuning
    (arXiv:2603.21725), as its code has it. Of N tensors each is drawn with probability pi_i in proportion to its score
    S_i, so that [share N] are drawn on average (the likeliest one if none is);  z ~ N(0, I) on those drawn;
    c = [L(theta + eps z) - L(theta - eps z)] / (2 eps);  theta_i <- theta_i - lr c z_i / pi_i, unbiased. Then
    g <- (1 - follow) g + follow |c|;  e_i = (|z_i| / pi_i)^2 over the sum of them;
    S_i <- (1 - follow) S_i + follow (|c| / g) e_i for those drawn. Every `every` steps the share follows the scores:
    with w = S / mean S,  n = (sum sqrt w)^2 / sum w  and the entropy h of w over log N,
    share <- 0.9 share + 0.1 (0.1 + 0.7 (0.7 n / N + 0.3 (1 - h))), within 0.1 and 0.8.

    Not verified: the paper's text was not to be had beyond its abstract, which speaks of single parameters; the
    equations and defaults (share 0.4, follow 0.1, every 20, scores 0.01 at first) are those of another's port of the
    authors' anonymous code, which draws whole tensors. eps and learning rates are MeZO's. Forwards a step: 2. State:
    one number a tensor, and two. Every step reads the scores on the host.

    The squares in e_i are of the noise, not of the loss: a tensor's score rises with its size and with how seldom it
    was drawn, and with |c| for all drawn alike.
    """

    reference: ClassVar[str] = "Wang et al. 2026, arXiv:2603.21725"
    public_code: ClassVar[str] = (
        "an anonymous repository, not to be had; read in a port: scores rise with a tensor's size, not with its "
        "share in the slope"
    )
    verified: ClassVar[bool | None] = False
    forwards_per_step: ClassVar[int | None] = 2
    state_per_parameter: ClassVar[float] = 0.0
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 5e-7, 1e-6, 5e-6)
    small_lrs: ClassVar[tuple[float, ...]] = (5e-5, 2.5e-4)
    exercise: ClassVar[Mapping[str, object]] = {"every": 3, "share": 1.0}
    around: ClassVar[type[Estimator] | None] = TensorDraws

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""

    def iterate(self, losses: Losses) -> Tensor:
        pi = self.drawn()
        over = self.compute(
            lambda p: torch.full((), 1 / pi[p.name], dtype=p.dtype, device=p.param.device),
            on=lambda p: p.name in pi,
            name="over",
        )
        z = self.noise(on=lambda p: p.name in pi)
        lp, lm = losses(+self.eps * z, -self.eps * z)
        c = (lp - lm) / (2 * self.eps)
        self.descend(c * (over * z))
        self.learn(wide(c.abs()), squares(self, over * z))
        return lp
