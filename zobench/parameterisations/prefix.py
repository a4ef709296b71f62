"""Prefix tuning: keys and values that every row sees before its own, in the attention modules of the scope."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from ..directions.noise.source import mix
from ..errors import ZobenchError
from ..scopes.scope import Scope
from ..settings import Count, resolve
from .substitute_scope import Substitutes, refuse_masks, where

NAME = "zobench_prefix"
"""Of the module that holds a prefix, in its attention module, and of the attention function that reads it."""
KNOWN = ("sdpa", "eager")
"""Attention functions that take a mask of every query and key, so that a prefix can be put before it."""


class PrefixTuning:
    """`num_prefix` keys and values a key-value head, before those of the text; they alone train.

    Source: Li and Liang 2021 (arXiv:2101.00190) without its reparameterisation, as the released MeZO has it. A prefix
    starts as the keys and values of `num_prefix` random tokens, which are a function of the seed alone, so that a
    smaller scope does not change the prefixes that stay. Places of the text are counted from its own first token, as
    without a prefix: rotary models are told them where rows are padded on the left, since what they see of a prefix
    depends on the places themselves and not on their differences alone. (The released code counts the padding.)

    An attention module is in the scope when a weight of its own is, and its prefix is active when one of these is.
    Names: `model.layers.0.self_attn.zobench_prefix.keys`, `.values`, both (key-value heads, num_prefix, head size).

    Raises ZobenchError when no attention module lies in the scope, when the model's do not call transformers'
    interface of attention functions with `sdpa` or `eager`, or when the scope masks entries of their weights.
    """

    num_prefix: Count = 5

    def __init__(self, model: nn.Module, scope: Scope, seed: int = 0, **settings: object) -> None:
        for name, value in resolve(PrefixTuning, settings, owner="prefix").items():
            setattr(self, name, value)
        self._modules = attention(model, scope)
        refuse_masks(
            scope, {n for names, _ in self._modules.values() for n in names}, "a prefix has no entries for them"
        )
        self._standing = Standing()
        self._required = [(p, p.requires_grad) for p in model.parameters()]
        self._told = model.register_forward_pre_hook(placed, with_kwargs=True)
        try:
            self._put(model, seed)
        except BaseException:
            self.detach()
            raise
        for p, _ in self._required:
            p.requires_grad_(False)
        of = {f"{n}.{NAME}.{which}": names for n, (names, _) in self._modules.items() for which in ("keys", "values")}
        self.scope: Scope = Substitutes([(n, p) for n, p in model.named_parameters() if n in of], scope, of)

    def detach(self) -> None:
        """Take the prefixes off."""
        self._told.remove()
        self._standing.remove()
        for p, required in self._required:
            p.requires_grad_(required)
        self._required = []

    @torch.no_grad()
    def _put(self, model: nn.Module, seed: int) -> None:
        """Prefixes that remember what they are shown; a forward over random tokens; then they are held before it."""
        for _, module in self._modules.values():
            self._standing.put(module, Prefix())
        device = next(model.parameters()).device
        generator = torch.Generator().manual_seed(mix(seed, "prefix"))
        vocabulary = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
        tokens = torch.randint(vocabulary, (1, self.num_prefix), generator=generator)
        model(input_ids=tokens.to(device), use_cache=False)
        for name, (_, module) in self._modules.items():
            module.get_submodule(NAME).hold(name)  # type: ignore[operator]


class Standing:
    """Modules that stand in attention modules, called `NAME`: attention is over what they make of keys and values."""

    def __init__(self) -> None:
        self._configs: dict[nn.Module, Any] = {}

    def put(self, module: nn.Module, standing: nn.Module) -> None:
        """In this attention module, which is one of `attending`."""
        from transformers import AttentionInterface

        config: Any = module.config
        AttentionInterface.register(NAME, attended)
        self._configs[module], own = config, copy(config)
        own._attn_implementation = NAME
        module.config = own
        module.add_module(NAME, standing)

    def remove(self) -> None:
        """Take all off."""
        for module, config in self._configs.items():
            module.config = config
            module._modules.pop(NAME, None)
        self._configs.clear()


class Prefix(nn.Module):
    """Keys and values that stand before those of the text."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: tuple[Tensor, Tensor] | None = None

    def hold(self, module: str) -> None:
        """From here on what was shown last is held, as parameters: both (heads, tokens, head size)."""
        if self._shown is None:
            raise ZobenchError(f"prefix: {module} does not call transformers' interface of attention functions")
        keys, values = self._shown
        self.keys, self.values = nn.Parameter(keys[0].clone()), nn.Parameter(values[0].clone())
        self._shown = None

    def forward(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Both (rows, heads, tokens, head size), the prefix before them."""
        if "keys" not in self._parameters:
            self._shown = keys, values
            return keys, values
        before = (p.expand(keys.shape[0], *p.shape) for p in (self.keys, self.values))
        longer = [torch.cat(both, 2) for both in zip(before, (keys, values), strict=True)]
        return longer[0], longer[1]


def placed(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The call of a model with the places of its tokens, counted from the first that is not padding, where it has a
    mask of rows, (rows, length), and no places yet, and takes any.
    """
    mask = kwargs.get("attention_mask")
    if mask is None or mask.ndim != 2 or "position_ids" not in inspect.signature(model.forward).parameters:
        return args, kwargs
    ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
    places = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    return args, {"position_ids": places, **kwargs}


def attended(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **more: Any
) -> tuple[Tensor, None]:
    """Attention, for transformers' interface: over what stands in the module before the text, then over the text."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    context = key.shape[2]
    key, value = module.get_submodule(NAME)(key, value)
    if attention_mask is None:
        attention_mask = _causal(query, context)
    seen = (*attention_mask.shape[:-1], key.shape[2] - context)
    prefix = attention_mask.new_ones(seen) if attention_mask.dtype == torch.bool else attention_mask.new_zeros(seen)
    mask = torch.cat((prefix, attention_mask[..., :context]), -1)
    more.pop("is_causal", None)  # the mask has it
    out: Tensor = sdpa_attention_forward(module, query, key, value, mask, is_causal=False, **more)[0]
    return out, None


def _causal(query: Tensor, context: int) -> Tensor:
    """What no mask means: each query sees the text up to itself, the last query all of it. (1, 1, queries, context)."""
    queries = query.shape[2]
    seen = torch.ones(queries, context, dtype=torch.bool, device=query.device)
    return seen.tril(context - queries)[None, None]


def prefixes(model: nn.Module, scope: Scope | None = None) -> tuple[str, ...]:
    """What the tensors of prefixes would be called on this scope; None: on the whole model.

    Raises ZobenchError where there is no place for one.
    """
    of = attention(model, Scope(list(model.named_parameters())) if scope is None else scope)
    return tuple(f"{n}.{NAME}.{which}" for n in of for which in ("keys", "values"))


def attending(model: nn.Module, method: str) -> dict[str, nn.Module]:
    """Full name -> module of the attention modules, in the model's order.

    By transformers' interface such a module has a `config` and says whether it `is_causal`. ZobenchError where there
    are none, and where attention is computed in a way that takes no mask of every query and key.
    """
    every: Iterable[tuple[str, nn.Module]] = model.named_modules()
    found = {n: m for n, m in every if n and hasattr(m, "is_causal") and hasattr(m, "config")}
    found = {n: m for n, m in found.items() if not any(n.startswith(f"{other}.") for other in found)}
    if not found:
        raise ZobenchError(f"{method}: {type(model).__name__} has no attention module of transformers' interface")
    for module in found.values():
        config: Any = module.config
        if config._attn_implementation not in KNOWN:
            raise ZobenchError(
                f"{method}: attention is computed by {config._attn_implementation}, which takes no mask that a "
                f"{method} could be put before; load the model with {' or '.join(KNOWN)}"
            )
    return found


def attention(model: nn.Module, scope: Scope) -> dict[str, tuple[list[str], nn.Module]]:
    """Full name -> (its weights in the scope, module) of the attention modules that have some, in the model's order."""
    moving = [n for n, _ in scope.named]
    found = attending(model, "prefix")
    own = {n: ([w for w in moving if w.startswith(f"{n}.")], m) for n, m in found.items()}
    chosen = {n: pair for n, pair in own.items() if pair[0]}
    if not chosen:
        raise ZobenchError(
            f"prefix: no attention module has a weight in the chosen scope ({where(scope)}); choose one that has some"
        )
    return chosen
