"""Quantised weights: linear layers rounded to a few bits, of which the scales of those in the scope train."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ZobenchError
from ..scopes.scope import Scope
from ..settings import Count, Range, resolve
from .substitute_scope import Substitutes, put_module, refuse_masks, where

SCALES = "scales"


class QuantisedScales:
    """W = s q: every linear layer but the output head in `bits` bits, with a scale for every `group` inputs of a row.

    Source: Shang et al. 2025, QZO (arXiv:2505.13430), which moves the scales s of such a model and leaves
    the codes q. q = round(W / s) in +-(2^(bits-1) - 1), s the largest |W| of the group over the largest code: rounding
    to nearest, where the paper takes models that GPTQ or AQLM have rounded. All linear layers are rounded, whatever
    the scope, so that the scope is one of a quantised model; only the scales of its own layers train.

    Codes are held in a byte each and the original weights are kept to be put back: this is for the study of the
    method, and saves no memory. Names: `model.layers.0.self_attn.q_proj.scales` (out, groups), in the weight's dtype.

    Raises ZobenchError when no linear layer lies in the scope or when the scope masks entries of one.
    """

    bits: Annotated[int, Range(ge=2, le=8)] = 4
    group: Count = 128

    def __init__(self, model: nn.Module, scope: Scope, seed: int = 0, **settings: object) -> None:
        for name, value in resolve(QuantisedScales, settings, owner="scales").items():
            setattr(self, name, value)
        self._model = model
        self._linear = _linear(model)
        chosen = {n.removesuffix(f".{SCALES}") for n in scales(model, scope)}
        refuse_masks(scope, {f"{n}.weight" for n in chosen}, "a scale is of many of them")
        self._required = [(p, p.requires_grad) for p in model.parameters()]
        for name, module in self._linear.items():
            put_module(model, name, QuantisedLinear(module, self.bits, self.group))
        for n, p in model.named_parameters():
            p.requires_grad_(n.removesuffix(f".{SCALES}") in chosen and n.endswith(f".{SCALES}"))
        of = {f"{n}.{SCALES}": [f"{n}.weight"] for n in chosen}
        self.scope: Scope = Substitutes([(n, p) for n, p in model.named_parameters() if n in of], scope, of)

    def detach(self) -> None:
        """Put the original layers back."""
        for name, module in self._linear.items():
            put_module(self._model, name, module)
        for p, required in self._required:
            p.requires_grad_(required)
        self._linear, self._required = {}, []


class QuantisedLinear(nn.Module):
    """A linear layer of codes, int8 (out, groups, group) and 0 beyond the input, and scales, (out, groups)."""

    codes: Tensor

    @torch.no_grad()
    def __init__(self, linear: nn.Linear, bits: int, group: int) -> None:
        super().__init__()
        weight = linear.weight.detach()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        size = min(group, self.in_features)
        padded = F.pad(weight.float(), (0, -self.in_features % size))
        groups = padded.view(self.out_features, -1, size)
        largest = 2 ** (bits - 1) - 1
        scales = (groups.abs().amax(-1) / largest).to(weight.dtype)
        steps = scales.float().clamp(min=torch.finfo(torch.float32).tiny)[..., None]
        self.register_buffer(
            "codes", (groups / steps).round().clamp(-largest, largest).to(torch.int8), persistent=False
        )
        self.scales = nn.Parameter(scales)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out), with the weights that the codes and the scales stand for."""
        return F.linear(x, self.weights(), self.bias)

    def weights(self) -> Tensor:
        """What codes and scales stand for, (out, in)."""
        return (self.codes * self.scales[..., None]).flatten(1)[:, : self.in_features]


def scales(model: nn.Module, scope: Scope | None = None) -> tuple[str, ...]:
    """What the scales on this scope would be called; None: on the whole model. ZobenchError where there are none."""
    moving = None if scope is None else {n for n, _ in scope.named}
    found = tuple(f"{n}.{SCALES}" for n in _linear(model) if moving is None or f"{n}.weight" in moving)
    if scope is not None and not found:
        raise ZobenchError(
            f"scales: no linear layer lies in the chosen scope ({where(scope)}); choose a scope that has one"
        )
    return found


def _linear(model: nn.Module) -> dict[str, nn.Linear]:
    """By full name the linear layers that are rounded: all but the head."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None  # type: ignore[operator]
    return {n: m for n, m in model.named_modules() if type(m) is nn.Linear and m is not head}
