"""QZO, Shang et al. 2025: MeZO on the scales of a quantised model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from zobench import Count, Estimator, Handle, Losses, NonNegative, Positive, Range


class QZO(Estimator):
    """MeZO on the scales of weights that are rounded to a few bits; the slope is clipped, and scales stay positive.

    Paper: Fine-tuning Quantized Neural Networks with Zeroth-order Optimization (arXiv:2505.13430), Q-SPSA and
    directional derivative clipping, for W = s q with fixed codes q:  z ~ N(0, I) on the scales s;
    c = [L(s + eps z) - L(s - eps z)] / (2 eps);  c <- min(max(c, -clip), clip);  s <- max(s - lr c z, floor).

    Defaults: eps 1e-3, clip 100, 4 bits, groups of 128 (released code; its example runs lr 1e-7, its script has 1e-5);
    floor 0, where the released code has 1e-7. eps is absolute, although scales may be no larger than it: a look then
    moves whole groups by a good part of their size, so eps belongs beside every result. Forwards a step: 2. State:
    none.

    Deviation: the model is rounded to nearest (zobench.parameterisations.scales.QuantisedScales), where the paper
    starts from GPTQ's or AQLM's roundings, and a board's zero-shot score is that of the model before. On tensors that
    are no scales (another parameterisation) there is no floor. Not verified: equations and defaults were read in the
    released code and in summaries of the paper.
    """

    reference: ClassVar[str] = "Shang et al. 2025, arXiv:2505.13430"
    public_code: ClassVar[str] = "maifoundations/QZO (MIT): layers found by OPT's and LLaMA's names only"
    state_per_parameter: ClassVar[float] = 0.0
    verified: ClassVar[bool | None] = False
    parameterisation: ClassVar[str] = "scales"
    forwards_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 1e-6, 1e-5)
    small_lrs: ClassVar[tuple[float, ...]] = (3e-5, 1e-4)
    neutral: ClassVar[Mapping[str, object] | None] = {"clip": 1e30}

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""
    clip: Positive = 100.0
    """The slope is kept within +- this."""
    floor: NonNegative = 0.0
    """What no scale falls below."""
    bits: Annotated[int, Range(ge=2, le=8)] = 4
    """Of a code."""
    group: Count = 128
    """Inputs of a row that share a scale."""

    def room(self, p: Handle) -> Tensor:
        """The largest gradient after whose step the scales `p` are not below the floor."""
        if not is_scales(p):
            return torch.full_like(p.data, math.inf)
        return (p.data - self.floor) / float(p.group["lr"])

    def iterate(self, losses: Losses) -> Tensor:
        z = self.noise()
        lp, lm = losses(+self.eps * z, -self.eps * z)
        g = ((lp - lm) / (2 * self.eps)).clamp(-self.clip, self.clip) * z
        if any(map(is_scales, self.active)):
            g = g.clamp(max=self.compute(self.room, name="room"))
        self.descend(g)
        return lp


def is_scales(p: Handle) -> bool:
    """Whether these are scales of zobench.parameterisations.scales."""
    return p.name.endswith(".scales")
