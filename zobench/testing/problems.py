"""Small float64 problems that the checks train: an MLP, a two-block LLaMA, a quadratic with a known gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..engine.objective import Objective
from ..scopes.scope import Scope

Forward = Callable[..., Any]


@dataclass
class Problem:
    """A model in float64, a batch for every step, and the loss of a batch.

    `loss(forward, batch)` calls `forward` as it would call the model, so that it can be evaluated at other weights.
    `split(batch)`: the batches of one example each that a batch is made of.
    """

    name: str
    model: nn.Module
    batch: Callable[[int], Any]
    loss: Callable[[Forward, Any], Tensor]
    lr: float
    split: Callable[[Any], list[Any]] = field(default=lambda batch: [batch])

    def objective(self, step: int) -> Objective:
        """The loss of step `step`'s batch, with a source of further batches."""

        def more() -> Iterator[Any]:
            k = 10_000 * (step + 1)
            while True:
                k += 1
                yield self.batch(k)

        return Objective(self.model, self.loss, self.batch(step), more(), examples=self.split)

    def named(self) -> list[tuple[str, nn.Parameter]]:
        """The (name, parameter) pairs of the model."""
        return list(self.model.named_parameters())

    def weights(self) -> dict[str, Tensor]:
        """A copy of every parameter as it stands."""
        return {n: p.detach().clone() for n, p in self.named()}


class _MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        sizes = [6, 8, 8, 3]
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(a, b)) for a, b in zip(sizes, sizes[1:], strict=False))

    def forward(self, x: Tensor) -> Tensor:
        for layer in list(self.layers)[:-1]:
            x = torch.tanh(layer(x))
        out: Tensor = self.layers[-1](x)
        return out


def mlp() -> Problem:
    """Three linear layers with biases, cross-entropy over three classes: 147 parameters in 6 tensors."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _MLP().double().eval()

    def batch(step: int) -> tuple[Tensor, Tensor]:
        g = torch.Generator().manual_seed(1000 + step)
        return torch.randn(5, 6, generator=g, dtype=torch.float64), torch.randint(0, 3, (5,), generator=g)

    def loss(forward: Forward, b: tuple[Tensor, Tensor]) -> Tensor:
        value: Tensor = nn.functional.cross_entropy(forward(b[0]), b[1])
        return value

    def split(b: tuple[Tensor, Tensor]) -> list[tuple[Tensor, Tensor]]:
        return [(b[0][i : i + 1], b[1][i : i + 1]) for i in range(len(b[1]))]

    return Problem("mlp", model, batch, loss, lr=1e-2, split=split)


def llama() -> Problem:
    """Two LLaMA blocks with grouped-query attention, language modelling: 7 248 parameters in 21 tensors.

    Its norms are computed in float64: the model's own go through float32, whose rounding would hide a difference
    between engines of less than 1e-4.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        attn_implementation="sdpa",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = LlamaForCausalLM(config).double().eval()
    for name, module in list(model.named_modules()):
        if type(module).__name__ == "LlamaRMSNorm":
            norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps, dtype=torch.float64)
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, norm)

    def batch(step: int) -> Tensor:
        return torch.randint(3, 64, (2, 7), generator=torch.Generator().manual_seed(1000 + step))

    def loss(forward: Forward, ids: Tensor) -> Tensor:
        logits = forward(input_ids=ids, use_cache=False).logits[:, :-1]
        value: Tensor = nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))
        return value

    return Problem("llama", model, batch, loss, lr=1e-3, split=lambda ids: [ids[i : i + 1] for i in range(len(ids))])


class Quadratic(nn.Module):
    """L(w, v) = |A (w, v) - b|^2 / 2 in float64, w a 7 x 6 matrix and v a vector of 5: 47 parameters.

    A central difference along d is exactly d . gradient here, so that moments have closed forms.
    """

    def __init__(self) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(1)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=g, dtype=torch.float64)

        self.a: Tensor = normal(60, 47) / 47**0.5
        self.b = normal(60)
        self.w, self.v = nn.Parameter(normal(7, 6)), nn.Parameter(normal(5))

    def forward(self) -> Tensor:
        """The loss, 0-dim."""
        return 0.5 * (self.a @ self.flat() - self.b).square().sum()

    def flat(self) -> Tensor:
        """(47,): w, then v, as they stand."""
        return torch.cat([self.w.flatten(), self.v])

    def gradient(self) -> Tensor:
        """(47,): the exact gradient at the present weights."""
        return self.a.T @ (self.a @ self.flat().detach() - self.b)


class Rotating(Scope):
    """A scope that changes over the steps, as LISA's and LeZO's do: each period one layer, others rest."""

    def __init__(self, named: list[tuple[str, nn.Parameter]], layers: int, period: int = 2) -> None:
        super().__init__(named)
        self.count, self.period = layers, period

    def active(self, step: int) -> Callable[[str], bool]:
        on = (step // self.period) % self.count
        return lambda name: f"layers.{on}." in name or "layers." not in name


def half_masks(named: list[tuple[str, nn.Parameter]]) -> dict[str, Tensor]:
    """A random mask of about half of every tensor, bool, the same at every call."""
    g = torch.Generator().manual_seed(5)
    return {n: torch.rand(p.shape, generator=g) < 0.5 for n, p in named}
