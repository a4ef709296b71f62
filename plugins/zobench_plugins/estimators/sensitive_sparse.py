"""Static sparsity from squared gradients, Guo et al. 2024 (SensZOQ)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from zobench import Buffer, Direction, Estimator, Handle, Losses, Planned, Positive, Range, ZobenchError

from ..learned.masks import file_of_masks, masks_for

RANDOM, FOREVER = "random", 10**18

DECAYS = "sensitive_sparse: weight decay would move entries outside the mask; set it to 0"


class SensitiveSparse(Estimator):
    """MeZO on a static, transferable mask: the entries whose squared gradient on pre-training text is largest.

    Paper: Zeroth-Order Fine-Tuning of LLMs with Extreme Sparsity (arXiv:2406.02913; ICLR 2025 as "with Transferable
    Static Sparsity"): m marks the 0.1% of entries with the largest squared gradient of the language-modelling loss on
    C4, found once a model and the same for all tasks;  d = m * z;  c as in MeZO;  theta <- theta - lr c d.
    The backward passes are made before, by zobench_plugins.learned.masks or

        python -m zobench_plugins.learned masks --model MODEL --text C4.txt --out masks.safetensors

    and training makes none. Tensors that the file does not name do not move. The paper quantises what stays; here
    every weight keeps its dtype, and z is MeZO's at the same seed.

    Defaults: eps 1e-3 (MeZO's). The authors' code could not be consulted (`verified` False); whether they rank entries
    over the whole model or by tensor is unknown (`--per`), and so are their learning rates. The grid is MeZO's times
    30, the root of 1000: the same root mean square of the step over the whole scope.

    masks="random" is the paper's control: each entry is in the mask by `density`, drawn once for the run.

    Forwards a step: 2. State: the indices of the mask's entries, 8 bytes each (random: none); within a step also one
    byte a parameter. With adapters there is nothing for a mask of weights to hold: that is refused, and so is weight
    decay, which would move the entries outside.
    """

    reference: ClassVar[str] = "Guo et al. 2024, arXiv:2406.02913"
    public_code: ClassVar[str] = "GarlGuo/SensZOQ is named, not obtainable"
    state_per_parameter: ClassVar[float] = 0.0
    forwards_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (3e-6, 1.5e-5, 3e-5, 1.5e-4)
    small_lrs: ClassVar[tuple[float, ...]] = (3e-3, 1.5e-2)
    verified: ClassVar[bool | None] = False
    neutral: ClassVar[Mapping[str, object] | None] = {"masks": RANDOM, "density": 1.0}
    needs: ClassVar[Mapping[str, object]] = {"masks": RANDOM}
    exercise: ClassVar[Mapping[str, object]] = {"density": 0.5}

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""
    masks: str = ""
    """The file of masks; or `random`."""
    sha256: str = ""
    """How the SHA-256 of the file begins; where given, any other file is refused, and the record says which it was."""
    density: Annotated[float, Range(gt=0, le=1)] = 1e-3
    """Share of entries in a random mask; that of a file was chosen when it was made."""

    @classmethod
    def check(cls, settings: Mapping[str, Any], planned: Planned) -> None:
        """ZobenchError for weight decay, and where there is no file of masks, or another one."""
        super().check(settings, planned)
        if planned.weight_decay:
            raise ZobenchError(DECAYS)
        if settings["masks"] != RANDOM:
            file_of_masks("sensitive_sparse", settings["masks"], settings["sha256"])

    def setup(self) -> None:
        if any(group["weight_decay"] for group in self.param_groups):
            raise ZobenchError(DECAYS)
        self.index: Buffer | None = None
        if self.masks != RANDOM:
            self.index = self.from_file()
            self.index.allocate(self.handles)

    def from_file(self) -> Buffer:
        """The flat indices of the mask's entries, int64, on each tensor that has any."""
        found = masks_for("sensitive_sparse", self.masks, self.sha256, {p.name: p.shape for p in self.handles})
        return self.buffer("index", init=lambda p: found[p.name].to(p.param.device), on=lambda p: p.name in found)

    def mask(self) -> Direction:
        """True, or 1, where entries may move."""
        index = self.index
        if index is not None:
            return self.compute(lambda p: marked(p, index[p]), on=index.covers, name="mask").lin()
        quantile = 2**0.5 * torch.erfinv(torch.tensor(2 * self.density - 1, dtype=torch.float64)).item()
        return self.noise(every=FOREVER, label="mask").map(lambda x: (x <= quantile).to(x.dtype))

    def iterate(self, losses: Losses) -> Tensor:
        d = self.mask() * self.noise()
        lp, lm = losses(+self.eps * d, -self.eps * d)
        c = (lp - lm) / (2 * self.eps)
        self.descend(c * d)
        return lp


def marked(p: Handle, index: Tensor) -> Tensor:
    """A mask (bool) of the shape of `p`, True at these flat indices."""
    flat = torch.zeros(p.shape.numel(), dtype=torch.bool, device=p.param.device)
    return flat.index_fill_(0, index, True).view(p.shape)
