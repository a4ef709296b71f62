"""For second readings of papers: the noise of a step, written out from the documented rule of seeds, and a problem."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from zobench import Objective

BATCH = 7


def blake(*parts: object) -> int:
    """63 bits of blake2b of the parts."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def gaussian(seed: int, step: int, draw: int, name: str, shape: tuple[int, ...]) -> Tensor:
    """The draw (counted from 1) of a step for one tensor, in float64."""
    own = blake(seed, "step", step)
    own = own if draw == 1 else blake(own, draw)
    generator = torch.Generator().manual_seed(blake(own, "gaussian", name))
    return torch.randn(shape, dtype=torch.float32, generator=generator).double()


class Blocks(nn.Module):
    """Embedding, three blocks of a matrix and a vector, a head: a loss that is no quadratic, in float64."""

    def __init__(self) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(3)

        def normal(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(shape, generator=g, dtype=torch.float64) / 2)

        self.embed = normal(5, 4)
        self.layers = nn.ModuleList(nn.ParameterDict({"w": normal(4, 4), "b": normal(4)}) for _ in range(3))
        self.head = normal(4)

    def forward(self, x: Tensor) -> Tensor:
        h = x @ self.embed
        for layer in self.layers:
            h = torch.tanh(h @ layer["w"] + layer["b"])
        out: Tensor = h @ self.head
        return out

    def weights(self) -> dict[str, Tensor]:
        """A copy of every parameter."""
        return {n: p.detach().clone() for n, p in self.named_parameters()}


def batch(k: int) -> tuple[Tensor, Tensor]:
    """The k-th batch: x (7, 5), y (7,)."""
    g = torch.Generator().manual_seed(500 + k)
    return torch.randn(BATCH, 5, generator=g, dtype=torch.float64), torch.randn(BATCH, generator=g, dtype=torch.float64)


def loss(forward, b: tuple[Tensor, Tensor]) -> Tensor:
    """Mean square of the error."""
    return (forward(b[0]) - b[1]).square().mean()


def objective(model: nn.Module, k: int, extra=None) -> Objective:
    """The loss of the k-th batch; `extra`: further batches."""
    return Objective(model, loss, batch(k), extra, batched=False)


def loss_at(weights: dict[str, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
    """The same loss in plain torch, at these weights."""
    h = b[0] @ weights["embed"]
    for i in range(3):
        h = torch.tanh(h @ weights[f"layers.{i}.w"] + weights[f"layers.{i}.b"])
    return (h @ weights["head"] - b[1]).square().mean()


def plus(weights: dict[str, Tensor], factor: float, d: dict[str, Tensor]) -> dict[str, Tensor]:
    """weights + factor d, where d has a value."""
    return {n: w + factor * d[n] if n in d else w for n, w in weights.items()}


def slope(weights: dict[str, Tensor], d: dict[str, Tensor], b: tuple[Tensor, Tensor], eps: float) -> float:
    """[L(theta + eps d) - L(theta - eps d)] / (2 eps)."""
    return float(loss_at(plus(weights, eps, d), b) - loss_at(plus(weights, -eps, d), b)) / (2 * eps)


def draw(weights: dict[str, Tensor], step: int, number: int = 1, seed: int = 0) -> dict[str, Tensor]:
    """The draw of that number of a step, for all tensors."""
    return {n: gaussian(seed, step, number, n, tuple(w.shape)) for n, w in weights.items()}


def difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """The largest difference of an entry."""
    return max(float((a[n] - b[n]).abs().max()) for n in a)


def went(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Names of the tensors that changed."""
    return {n for n in before if not torch.equal(before[n], after[n])}
