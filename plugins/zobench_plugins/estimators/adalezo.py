"""AdaLeZO, Wang et al. 2026."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from zobench import Estimator, Losses, Positive, Range, wide

from .mezo_bcd import block_of

Share = Annotated[float, Range(gt=0, le=1)]


class Layerwise(Estimator):
    """A step of another method on a few blocks, drawn by a bandit, and weighed by the inverse of their probabilities.

    AdaLeZO (arXiv:2604.18264) as a plug-in; see `adalezo`, which this is around mezo. What the other method looks along
    is confined to the drawn blocks, and its moves are multiplied by their weights; buffers of tensors that rest decay
    as its own rule says. A block is rewarded by the spread of the losses that the step saw, largest less smallest,
    which for two looks is 2 eps |c|; how the authors reward steps of other methods is not known to us (`verified`
    False).
    """

    verified: ClassVar[bool | None] = False
    public_code: ClassVar[str] = "none seen that is known to be the authors'"

    ratio: Share = 0.2
    """Draws a step, as a share of the blocks; at least one."""
    temperature: Positive = 0.2
    """Of the softmax: the lower, the more the steepest block is preferred."""
    follow: Share = 0.1
    """Weight of the new reward in a block's running mean."""
    uniform: Share = 0.01
    """Share of the draws that is uniform, so that no block is forgotten."""
    most: Positive = 32.0
    """The most that one draw may weigh."""

    def setup(self) -> None:
        super().setup()
        self.rewards = self.buffer("rewards", shape=lambda p: ())

    def iterate(self, losses: Losses) -> Tensor | None:
        q = {block_of(p.name): self.rewards[p] for p in self.active}  # equal on all tensors of a block
        dice = self.generator("blocks")
        weights = drawn_weights(q, self.ratio, self.temperature, self.uniform, self.most, dice)
        drawn = [p for p in self.active if block_of(p.name) in weights]
        before = len(losses.seen())
        self.confine({p.name: weights[block_of(p.name)] for p in drawn})
        shown = super().iterate(losses)
        seen = torch.stack([wide(loss) for loss in losses.seen()[before:]])
        spread = seen.max() - seen.min()
        for p in drawn:
            self.rewards[p].lerp_(spread.to(self.rewards[p]), self.follow)
        return shown


def drawn_weights(
    q: Mapping[str, Tensor], ratio: float, tau: float, gamma: float, clip: float, dice: torch.Generator
) -> dict[str, float]:
    """Block -> weight of the blocks that a step draws (see AdaLeZO). q: block -> its running mean, 0-dim."""
    first = next(iter(q.values())).device
    scores = torch.stack([v.to(first) for v in q.values()]).cpu().double()  # one wait, not one a block
    scores = scores / scores.max() if scores.max() > 0 else scores
    p = (1 - gamma) * torch.softmax(scores / tau, 0) + gamma / len(q)
    k = max(1, int(ratio * len(q)))
    drawn = torch.multinomial(p, k, replacement=True, generator=dice)
    w = drawn.bincount(minlength=len(q)) * (1 / (k * p)).clamp(max=clip)
    return {name: float(v) for name, v in zip(q, w, strict=True) if v > 0}


class AdaLeZO(Estimator):
    """MeZO on a few blocks a step, drawn by a bandit that prefers those that have shown steep slopes.

    Paper: Universally Empowering Zeroth-Order Optimization via Adaptive Layer-wise Sampling (arXiv:2604.18264). With N
    blocks, k = max(1, [ratio N]) draws a step, and Q = 0 at first:
    p = (1 - gamma) softmax(Q / (tau max Q)) + gamma / N;  k draws from p with replacement, m_b times block b;
    z ~ N(0, I) on the drawn blocks;  c = [L(theta + eps z) - L(theta - eps z)] / (2 eps);
    theta_b <- theta_b - lr w_b c z_b  with  w_b = m_b min(1 / (k p_b), clip);
    Q_b <- (1 - alpha) Q_b + alpha |c|  for each drawn block.
    Without the clip E[w_b] = 1 for every block, so that the expected step is MeZO's.

    The paper's text could not be consulted beyond its abstract (bandit, draws with replacement, inverse probabilities);
    the equations and defaults (ratio 0.2, tau 0.2, alpha 0.1, gamma 0.01, clip 32, eps 1e-3) are those of a public
    implementation whose authors are not known to be the paper's: `verified` False. Blocks: see `mezo_bcd.block_of`.
    Learning rates: MeZO's; with the weights a step has MeZO's mean square over all coordinates at the same lr (that
    implementation's script has 1e-6, too). With one block it is MeZO.

    Forwards a step: 2. State: one number a block (held with each of its tensors). Every step reads Q on the host.

    Public code: the clip makes the estimate biased (clip=1e9 leaves it out). The reward is the slope along all drawn
    blocks together, so that a flat block that is drawn beside a steep one is rewarded with it. Its options that are off
    by default are not offered: a division by a running root mean square, a warm start for late blocks, draws kept for
    several steps.
    """

    reference: ClassVar[str] = "Wang et al., Findings of ACL 2026, arXiv:2604.18264"
    public_code: ClassVar[str] = (
        "one of others, not known to be the authors': its clip makes the estimate biased; the reward of a block "
        "is of all drawn ones"
    )
    state_per_parameter: ClassVar[float] = 0.0
    forwards_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 5e-7, 1e-6, 5e-6)
    verified: ClassVar[bool | None] = False
    around: ClassVar[type[Estimator] | None] = Layerwise

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""
    ratio: Share = 0.2
    """Draws a step, as a share of the blocks; at least one."""
    tau: Positive = 0.2
    """Temperature of the softmax: the lower, the more the steepest block is preferred."""
    alpha: Share = 0.1
    """Weight of the new slope in a block's running mean."""
    gamma: Share = 0.01
    """Share of the draws that is uniform, so that no block is forgotten; 1: all of them."""
    clip: Positive = 32.0
    """The most that one draw may weigh."""

    def setup(self) -> None:
        self.q = self.buffer("q", shape=lambda p: ())

    def weights(self) -> dict[str, float]:
        """Block -> w_b of the blocks that are drawn in this step."""
        q = {block_of(p.name): self.q[p] for p in self.active}  # equal on all tensors of a block
        return drawn_weights(q, self.ratio, self.tau, self.gamma, self.clip, self.generator("blocks"))

    def iterate(self, losses: Losses) -> Tensor:
        weights = self.weights()
        drawn = [p for p in self.active if block_of(p.name) in weights]
        w = self.compute(
            lambda p: torch.full((), weights[block_of(p.name)], dtype=p.dtype, device=p.param.device),
            on=lambda p: block_of(p.name) in weights,
            name="w",
        )
        z = self.noise(on=lambda p: block_of(p.name) in weights)
        lp, lm = losses(+self.eps * z, -self.eps * z)
        c = (lp - lm) / (2 * self.eps)
        self.descend(c * (w * z))
        for p in drawn:
            self.q[p].lerp_(c.abs().to(self.q[p]), self.alpha)
        return lp
