"""How long a direction is: for methods whose looks or steps have a set length."""

from __future__ import annotations

import torch
from torch import Tensor

from zobench import Algebra, Buffer, Draws, Estimator


def rms(method: Estimator | Draws, d: Algebra) -> Tensor:
    """Root mean square of the entries of `d` that may move in this step: 0-dim, float32 or wider.

    It draws and computes `d` once more, tensor by tensor.
    """
    sums, counts = _squares(method, d)
    return (torch.stack(list(sums.values())).sum() / sum(counts.values())).sqrt()


def rms_by_tensor(method: Estimator, d: Algebra) -> Buffer:
    """The same for each tensor on its own: one number a tensor, a buffer of this step."""
    sums, counts = _squares(method, d)
    return method.compute(lambda p: (sums[p.name] / counts[p.name]).sqrt(), on=lambda p: p.name in sums)


def squares(method: Estimator | Draws, d: Algebra) -> dict[str, Tensor]:
    """Sums of the squares (0-dim) of the entries of `d` that may move, by the tensors' names."""
    return _squares(method, d)[0]


def reciprocal(x: Tensor) -> Tensor:
    """The reciprocal 1 / x, and 0 where x is 0: what has no length stays where it is."""
    return torch.where(x > 0, 1 / x, 0.0)


def _squares(method: Estimator | Draws, d: Algebra) -> tuple[dict[str, Tensor], dict[str, Tensor | int]]:
    """Sums of squares (0-dim) and numbers of entries that may move, by the tensors' names."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, Tensor | int] = {}
    for p, v in method.each(d):
        sums[p.name] = v.square().sum()
        counts[p.name] = p.shape.numel() if p.mask is None else p.mask.sum()
    return sums, counts
