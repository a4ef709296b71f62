"""LoRA: low-rank adapters train in the place of the scope's query and value projections. Adapters by peft."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..devices import streams_kept
from ..directions.noise.source import mix
from ..errors import ZobenchError, library
from ..forwards import READS_WITHIN
from ..scopes.scope import Scope
from ..settings import Count, Positive, resolve
from .substitute_scope import Substitutes, put_module, refuse_masks, where

ADAPTER = "zobench"
FUSED = ("c_attn", "query_key_value", "qkv_proj", "Wqkv", "W_pack")
"""Modules of known architectures that hold the query, key and value projections in one matrix."""

EXPERTS = {"gate_up_proj": ("gate_proj", "up_proj", "w1", "w3"), "down_proj": ("w2",)}
"""Tensors that hold a weight of all experts of a block, and what these weights are called where experts are modules."""


class LoRA:
    """y = W x + b + (alpha / r) B (A x) on the target modules that lie in the scope; only A and B train.

    A (r, in) is drawn uniformly from +-1/sqrt(in) (Kaiming with a = sqrt 5, as the LoRA release), B (out, r) is
    zero, both in the dtype and on the device of W; there is no dropout. A's draw is a function of (seed, module
    name) alone, so that a smaller scope does not change the adapters that stay, and torch's own random stream is
    left where it was. A module is in the scope when its weight is among the scope's tensors. A scope that changes
    over the steps carries over: an adapter is active when the weight it stands for is.

    Source: Hu et al. 2021 (arXiv:2106.09685), section 4.1; targets, r and alpha: the released MeZO.

    Names are peft's: `model.layers.0.self_attn.q_proj.lora_A.zobench.weight`; while attached, a wrapped weight is
    called `...q_proj.base_layer.weight`.

    A scope that masks entries of a target is trained as W + mask * (alpha / r) B A: the product is made whole, m n
    entries of one module at a time, and A and B move whole.

    Raises ZobenchError when no target module lies in the scope, when the model has none of that name (with the
    names it has), or when the scope masks entries of a target by masks that change with the step.
    """

    r: Count = 8
    alpha: Positive = 16.0
    targets: tuple[str, ...] = ("q_proj", "v_proj")

    def __init__(self, model: nn.Module, scope: Scope, seed: int = 0, **settings: object) -> None:
        for name, value in resolve(LoRA, settings, owner="lora").items():
            setattr(self, name, value)
        chosen = wrapped(model, scope, self.targets)
        if type(scope).mask is not Scope.mask:
            what = "masks that change with the step cannot be put on the product of low-rank adapters"
            refuse_masks(scope, {f"{n}.weight" for n in chosen}, what)
        self._model: nn.Module | None = model
        self._wrapped = chosen
        self._required = [(p, p.requires_grad) for p in model.parameters()]
        try:
            self._inject(model)
            self._initialise(model, seed)
            for n in chosen:
                if (mask := scope.masks.get(f"{n}.weight")) is not None:
                    _mask(model.get_submodule(n), mask)
            of = {f"{n}.{which}.{ADAPTER}.weight": [f"{n}.weight"] for n in chosen for which in ("lora_A", "lora_B")}
            self.scope: Scope = Substitutes([(n, p) for n, p in model.named_parameters() if n in of], scope, of)
        except BaseException:
            self.detach()
            raise

    def detach(self) -> None:
        """Put the original modules back in the places they were taken from; the adapters are gone."""
        model, self._model = self._model, None
        if model is None:
            return
        for name, module in self._wrapped.items():
            put_module(model, name, module)
        for p, required in self._required:
            p.requires_grad_(required)

    def _inject(self, model: nn.Module) -> None:
        """Wrap the chosen modules, each by itself, and put the wrappers in their places.

        peft is given a holder of these modules alone. Given the model it may look for others: for mixtures of experts
        it replaces full names by the last parts of names, which are those of modules in every block.
        """
        peft = library("peft", "parameterisation lora")
        holder = nn.Module()
        for i, module in enumerate(self._wrapped.values()):
            holder.add_module(f"m{i}", module)
        config = peft.LoraConfig(
            r=self.r,
            lora_alpha=self.alpha,
            target_modules=r"m\d+",
            lora_dropout=0.0,
            bias="none",
            fan_in_fan_out=any(type(module).__name__ == "Conv1D" for module in self._wrapped.values()),
        )
        try:
            with streams_kept():  # peft initialises from the global stream
                peft.inject_adapter_in_model(config, holder, adapter_name=ADAPTER)
        except ValueError as e:  # a module that peft has no adapter for
            raise ZobenchError(f"lora: peft refuses these modules ({str(e).splitlines()[0]}); set other targets") from e
        for p, _ in self._required:
            p.requires_grad_(False)
        for i, name in enumerate(self._wrapped):
            put_module(model, name, holder.get_submodule(f"m{i}"))

    def _initialise(self, model: nn.Module, seed: int) -> None:
        """A uniform in +-1/sqrt(in), drawn in float32 on the CPU (the same on every device), B zero."""
        for name, base in self._wrapped.items():
            wrapper = model.get_submodule(name)
            a, b = (getattr(wrapper, which)[ADAPTER].weight for which in ("lora_A", "lora_B"))
            generator = torch.Generator().manual_seed(mix(seed, "lora_A", name))
            draw = (torch.rand(a.shape, generator=generator) * 2 - 1) / a.shape[1] ** 0.5
            weight: Any = base.weight
            for p, value in ((a, draw), (b, torch.zeros(b.shape))):
                p.data = value.to(device=weight.device, dtype=weight.dtype)


def _mask(wrapper: Any, mask: Tensor) -> None:
    """Have an adapted module add mask * (alpha / r) B A to its weight, entry by entry, in the place of the product."""

    def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        delta = _delta(wrapper)
        out: Tensor = wrapper.base_layer(x, *args, **kwargs) + nn.functional.linear(x.to(delta.dtype), delta)
        return out

    wrapper.zobench_mask = mask
    setattr(wrapper, READS_WITHIN, True)
    wrapper.forward = forward


def _delta(wrapper: Any) -> Tensor:
    """(alpha / r) B A of an adapted module, masked where it is: (out, in)."""
    a, b = (getattr(wrapper, which)[ADAPTER].weight for which in ("lora_A", "lora_B"))
    product: Tensor = wrapper.scaling[ADAPTER] * (b @ a)
    mask: Tensor | None = getattr(wrapper, "zobench_mask", None)
    if mask is None:
        return product
    return product * (mask if isinstance(wrapper.base_layer, nn.Linear) else mask.T)  # Conv1D keeps (in, out)


@torch.no_grad()
def tuned(wrapper: Any) -> Tensor:
    """The weight that an adapted module stands for, as its own is kept."""
    delta, base = _delta(wrapper), wrapper.base_layer
    weight: Tensor = base.weight
    return weight + (delta if isinstance(base, nn.Linear) else delta.T).to(weight.dtype)


def adapted(names: Iterable[str]) -> tuple[str, ...]:
    """The modules that adapters of these names stand on, in their order."""
    return tuple(dict.fromkeys(name.partition(".lora_")[0] for name in names))


def targeted(model: nn.Module, targets: Sequence[str]) -> dict[str, nn.Module]:
    """Full name -> linear module of those that `targets` name. ZobenchError, with the names it has, for none."""
    linear = {n: m for n, m in model.named_modules() if isinstance(getattr(m, "weight", None), Tensor)}
    linear = {n: m for n, m in linear.items() if m.weight.ndim == 2 and not isinstance(m, nn.Embedding)}
    called = {n: m for n, m in linear.items() if _is_called(n, targets)}
    if not called:
        raise ZobenchError(_no_such(linear, targets, type(model).__name__))
    return called


def wrapped(model: nn.Module, scope: Scope, targets: Sequence[str]) -> dict[str, nn.Module]:
    """Full name -> module of the targets whose weight is in the scope, in the model's order. ZobenchError for none."""
    moving = {name for name, _ in scope.named}
    _no_fused_experts(scope, targets, type(model).__name__)
    chosen = {n: m for n, m in targeted(model, targets).items() if f"{n}.weight" in moving}
    if not chosen:
        raise ZobenchError(
            f"lora: none of the modules {', '.join(targets)} lies in the chosen scope ({where(scope)}); "
            "choose a scope that has them, or set targets to modules it has"
        )
    return chosen


def adapters(model: nn.Module, settings: Mapping[str, object], scope: Scope | None = None) -> tuple[str, ...]:
    """What LoRA's tensors would be called on this scope; None: on the whole model. Puts none on.

    Raises ZobenchError as `LoRA` would.
    """
    targets = resolve(LoRA, settings, owner="lora")["targets"]
    of = targeted(model, targets) if scope is None else wrapped(model, scope, targets)
    return tuple(f"{n}.{which}.{ADAPTER}.weight" for n in of for which in ("lora_A", "lora_B"))


def _no_fused_experts(scope: Scope, targets: Sequence[str], model: str) -> None:
    """ZobenchError where a target's weights lie in one tensor of all experts, (experts, ., .), that is in the scope."""
    for name, p in scope.named:
        for target in targets if p.ndim == 3 else ():
            own = name.rpartition(".")[2]
            if target in (own, *EXPERTS.get(own, ())) or _is_called(name.rpartition(".")[0], [target]):
                raise ZobenchError(
                    f"lora: {target} of {model}'s experts is in one tensor of all of them, {name}, which adapters of "
                    f"linear layers cannot stand for; leave {target} out of targets"
                )


def _is_called(name: str, targets: Sequence[str]) -> bool:
    return any(name == t or name.endswith(f".{t}") for t in targets)


def _no_such(linear: Mapping[str, nn.Module], targets: Sequence[str], model: str) -> str:
    names = sorted({n.rpartition(".")[2] for n in linear} - {"lm_head", "embed_out", "score"})
    fused = [n for n in names if n in FUSED]
    wanted = " or ".join(targets)
    if fused:
        return (
            f"lora: {model} has no module called {wanted}: its query, key and value projections are one matrix, "
            f"{fused[0]}; to adapt that one, set targets={fused[0]} (this also adapts the keys)"
        )
    return f"lora: {model} has no linear module called {wanted}; set targets to some of: {', '.join(names)}"
