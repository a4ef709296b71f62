"""The entries with the largest squared gradient on pre-training text, from a file (SensZOQ, Guo et al. 2024)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from zobench import Range, Scope, SelectionContext, ZobenchError

from ..learned.masks import file_of_masks, masks_for
from .masked import Masking, inside

RANDOM = "random"


class SensitiveWeights(Masking):
    """A static, transferable mask: the entries whose squared gradient on pre-training text is largest.

    Zeroth-Order Fine-Tuning of LLMs with Extreme Sparsity (arXiv:2406.02913). `mezo` with this selector is
    `sensitive_sparse`, bit for bit; any other estimator may have it, and `sensitive_weights:first_outlier` is that part
    of the block. The file is made, with backward passes, by `python -m zobench_plugins.learned masks`; training makes
    none. Tensors that the file does not name do not move. Weight decay stays inside the mask.

    masks="random" is the paper's control: each entry is in the mask with probability `density`, by the cell's seed.
    Not verified: the authors' code could not be consulted; whether they rank entries over the model or by tensor is
    unknown. Forwards: none beside those of the other selector. Norms and embeddings move as far as the file names their
    entries.
    """

    reference: ClassVar[str] = "Guo et al. 2024, arXiv:2406.02913"
    public_code: ClassVar[str] = "GarlGuo/SensZOQ is named, not obtainable"
    verified: ClassVar[bool | None] = False
    exercise: ClassVar[Mapping[str, object]] = {"masks": RANDOM, "density": 0.5}

    masks: str = ""
    """The file of masks; or `random`."""
    sha256: str = ""
    """How the SHA-256 of the file begins; where given, any other file is refused, and the record says which it was."""
    density: Annotated[float, Range(gt=0, le=1)] = 1e-3
    """Share of entries in a random mask; that of a file was chosen when it was made."""

    def check(self, blocks: int) -> None:
        """ZobenchError where there is no file of masks, or another one."""
        super().check(blocks)
        if self.masks != RANDOM:
            file_of_masks("sensitive_weights", self.masks, self.sha256)

    def select(self, context: SelectionContext) -> Scope:
        """That part of the scope. ZobenchError where it has no entry that the file names."""
        scope = self.within(context)
        if self.masks == RANDOM:
            return inside(scope, self._drawn(scope, context.seed))
        found = masks_for("sensitive_weights", self.masks, self.sha256, {n: p.shape for n, p in scope.named})
        masks = {n: _marked(p, found[n]) for n, p in scope.named if n in found}
        context.note(entries=sum(int(m.sum()) for m in masks.values()), tensors=len(masks))
        return inside(scope, masks)

    def _drawn(self, scope: Scope, seed: int) -> dict[str, Tensor]:
        """A random mask of every tensor that gets an entry."""
        out: dict[str, Tensor] = {}
        for name, p in scope.named:
            digest = hashlib.blake2b(f"sensitive_weights/{seed}/{name}".encode(), digest_size=7).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
            mask = torch.rand(p.shape, generator=generator) < self.density
            if bool(mask.any()):
                out[name] = mask.to(p.device)
        if not out:
            raise ZobenchError(f"sensitive_weights: density={self.density} leaves no entry of the scope; set it higher")
        return out


def _marked(p: Tensor, index: Tensor) -> Tensor:
    """A mask (bool) of the shape of `p`, True at these flat indices."""
    flat = torch.zeros(p.numel(), dtype=torch.bool, device=p.device)
    return flat.index_fill_(0, index.to(p.device), True).view(p.shape)
