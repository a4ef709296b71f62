"""Prompt tuning: embeddings of virtual tokens that every row begins with; they alone train."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..directions.noise.source import mix
from ..errors import ZobenchError
from ..forwards import CACHES
from ..scopes.scope import Scope
from ..settings import Count, resolve
from .prefix import Standing, attending
from .substitute_scope import Substitutes, refuse_masks, where

NAME = "zobench_prompt"
"""Of the module that holds the prompt, in the model."""
TRIED = 8
"""Tokens of the text that it is tried on."""


class PromptTuning:
    """`num_virtual_tokens` embeddings before those of the text, through all blocks; they alone train.

    Source: Lester et al. 2021 (arXiv:2104.08691) as ZO-Bench (Zhang et al. 2024, arXiv:2402.11592) and SubZero have it.
    init="tokens": a prompt starts as the embeddings of random tokens (their runs, --prompt_init_by_real_tokens);
    "normal": entries are N(0, 1) (their code's default). Both are a function of the seed alone, in float32 or wider,
    and enter the model in its dtype.

    As attention is causal, what a prompt does to a text lies in its keys and values. So in a forward the prompt passes
    through the model by itself, once where all rows have the same, and the attention of text is over its keys and
    values too: rows that share a forward share the prompt. Places of the text are counted on after the prompt, from
    the text's own first token. (The released code counts padding on the left too, and puts the prompt before it.)

    The prompt stands in the place of the input embeddings: it is in the scope when their weight is, and active when
    that is. It has one tensor, `zobench_prompt.embeddings` (num_virtual_tokens, width).

    Raises ZobenchError when the input embeddings are not in the scope, when the scope masks entries of them, when the
    model takes no embeddings or places, when its attention cannot be reached (see PrefixTuning), and when it does not
    compute so what it computes with the prompt's embeddings before the text's, which is tried; in a forward, when
    prompt and text together are longer than the model's places.
    """

    num_virtual_tokens: Count = 10
    init: Literal["tokens", "normal"] = "tokens"

    def __init__(self, model: nn.Module, scope: Scope, seed: int = 0, **settings: object) -> None:
        for name, value in resolve(PromptTuning, settings, owner="prompt").items():
            setattr(self, name, value)
        of = _embeddings(model, scope)
        refuse_masks(scope, {of}, "a prompt has no entries for them")
        self._model = model
        self._standing = Standing()
        self._required = [(p, p.requires_grad) for p in model.parameters()]
        self._hooks: list[Any] = []
        prompt = Prompt(self._start(model, seed))
        try:
            self._put(model, prompt)
        except BaseException:
            self.detach()
            raise
        for p, _ in self._required:
            p.requires_grad_(False)
        tensors = [(n, p) for n, p in model.named_parameters() if n.startswith(f"{NAME}.")]
        self.scope: Scope = Substitutes(tensors, scope, {n: [of] for n, _ in tensors})

    def detach(self) -> None:
        """Take the prompt off."""
        for hook in self._hooks:
            hook.remove()
        self._standing.remove()
        self._model._modules.pop(NAME, None)
        for p, required in self._required:
            p.requires_grad_(required)
        self._hooks, self._required = [], []

    @torch.no_grad()
    def _start(self, model: nn.Module, seed: int) -> Tensor:
        """What the prompt starts from: (num_virtual_tokens, width), on the device of the embeddings."""
        embed = _embedding(model)
        generator = torch.Generator().manual_seed(mix(seed, "prompt"))
        tokens = torch.randint(embed.num_embeddings, (self.num_virtual_tokens,), generator=generator)
        rows: Tensor = embed(tokens[None].to(embed.weight.device))[0]
        rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
        return rows if self.init == "tokens" else torch.randn(rows.shape, generator=generator).to(rows)

    @torch.no_grad()
    def _put(self, model: nn.Module, prompt: Prompt) -> None:
        """The prompt in the model, after what it must compute is known; ZobenchError where it computes other things."""
        body, embed, modules = _body(model), _embedding(model), attending(model, "prompt")
        places = _places(body, embed)
        length = min(TRIED, places - self.num_virtual_tokens) if places else TRIED
        if length < 1:
            raise ZobenchError(f"prompt.num_virtual_tokens={self.num_virtual_tokens}: the model has {places} places")
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(embed.num_embeddings, (1, length), generator=generator).to(embed.weight.device)
        text = embed(ids)
        whole = torch.cat((prompt(ids).to(text), text), 1)
        counted = torch.arange(whole.shape[1], device=ids.device)[None]
        wanted = model(inputs_embeds=whole, position_ids=counted, use_cache=False).logits[:, -length:]
        found = {}
        for name, module in modules.items():
            found[name] = Shown()
            self._standing.put(module, found[name])
        model.add_module(NAME, prompt)
        told = _Told(body, embed.weight.dtype, prompt, list(found.values()), places)
        self._hooks.append(model.register_forward_pre_hook(told.before, with_kwargs=True))
        self._hooks.append(model.register_forward_hook(told.after, always_call=True))
        off = float((model(input_ids=ids, use_cache=False).logits - wanted).float().abs().max())
        eps = max(torch.finfo(dtype).eps for dtype in (wanted.dtype, torch.float32))  # softmax is in float32 at most
        if not off <= eps**0.5 * float(wanted.float().abs().max()):
            raise ZobenchError(
                f"prompt: {type(model).__name__} hands on of a prompt more than keys and values of attention to all "
                f"that is before (its logits are off by {off:.1e}); use parameterisation prefix"
            )


class Prompt(nn.Module):
    """Embeddings of virtual tokens."""

    def __init__(self, embeddings: Tensor) -> None:
        super().__init__()
        self.embeddings = nn.Parameter(embeddings)

    def forward(self, ids: Tensor) -> Tensor:
        """For each row of the text, (rows, length): (rows, tokens, width); a view of one where all have the same."""
        return self.embeddings.expand(ids.shape[0], *self.embeddings.shape)


class Shown(nn.Module):
    """Keeps the keys and values of the prompt when that passes, and puts them before those of a text."""

    def __init__(self) -> None:
        super().__init__()
        self.passing = False
        self.kept: tuple[Tensor, Tensor] | None = None

    def forward(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Both (rows, heads, tokens, head size)."""
        if self.passing or self.kept is None:
            self.kept = keys, values
            return keys, values
        before = (one.expand(keys.shape[0], *one.shape[1:]) for one in self.kept)
        longer = [torch.cat(both, 2) for both in zip(before, (keys, values), strict=True)]
        return longer[0], longer[1]


class _Told:
    """Lets the prompt pass before each text, and tells the model the places of the text after it."""

    def __init__(
        self, body: nn.Module, dtype: torch.dtype, prompt: Prompt, shown: list[Shown], places: int | None
    ) -> None:
        self._body, self._dtype, self._prompt, self._shown, self._places = body, dtype, prompt, shown, places

    def before(
        self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A call of the model: its prompt passes first, unless the call goes on from a text that has seen it."""
        given = (*args[:1], kwargs.get("input_ids"), kwargs.get("inputs_embeds"))
        ids = next(x for x in given if isinstance(x, Tensor))
        past = _past(kwargs)
        if not past or self._rows() not in (1, ids.shape[0]):
            self._pass(ids, kwargs.get("attention_mask"))
        places = _counted(ids, kwargs, past) + self._prompt.embeddings.shape[0]
        self._check(places)
        return args, {**kwargs, "position_ids": places}

    def after(self, model: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Keys and values are let go, unless another call may go on."""
        if all(getattr(output, name, None) is None for name in CACHES):
            for one in self._shown:
                one.kept = None

    def _pass(self, ids: Tensor, mask: Tensor | None) -> None:
        """Keys and values of the prompt, for a text with this mask."""
        rows = self._prompt(ids)
        rows = rows if rows.stride(0) else rows[:1]  # a view of one: all points at once have the same prompt
        for one in self._shown:
            one.kept, one.passing = None, True
        try:
            self._body(inputs_embeds=rows.to(self._dtype), use_cache=False, **_whole(mask, rows.shape[1]))
        finally:
            for one in self._shown:
                one.passing = False

    def _rows(self) -> int:
        kept = self._shown[0].kept
        return 0 if kept is None else kept[0].shape[0]

    def _check(self, places: Tensor) -> None:
        """ZobenchError for places that the model has not. Whether it may be so is told by lengths, without a look."""
        if self._places is None or places.shape[1] + self._prompt.embeddings.shape[0] <= self._places:
            return
        last, own = int(places.max()) + 1, self._prompt.embeddings.shape[0]
        if last > self._places:
            raise ZobenchError(
                f"prompt: {own} virtual tokens and a text of {last - own} need more than the model's {self._places} "
                f"places; set max_length={self._places - own}"
            )


def _whole(mask: Tensor | None, length: int) -> dict[str, Tensor]:
    """What a pass of `length` tokens is told. Where the text has a mask of every two tokens so has the prompt: a model
    that is given one makes none, for which a GPU would be waited for.
    """
    if mask is None or mask.ndim != 4:
        return {}
    seen = torch.ones(1, 1, length, length, dtype=torch.bool, device=mask.device).tril()
    if mask.dtype != torch.bool:
        seen = torch.zeros_like(seen, dtype=mask.dtype).masked_fill(~seen, torch.finfo(mask.dtype).min)
    return {"attention_mask": seen, "position_ids": torch.arange(length, device=mask.device)[None]}


def _past(kwargs: Mapping[str, Any]) -> int:
    """How many earlier tokens a call goes on from."""
    cache = next((kwargs[name] for name in CACHES if kwargs.get(name) is not None), None)
    return int(cache.get_seq_length()) if cache is not None else 0


def _counted(ids: Tensor, kwargs: Mapping[str, Any], past: int) -> Tensor:
    """Places of the text, counted from its own first token: those that the call tells, else by its mask, else all."""
    told, mask = kwargs.get("position_ids"), kwargs.get("attention_mask")
    if isinstance(told, Tensor):
        return told
    if isinstance(mask, Tensor) and mask.ndim == 2:
        return (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    return torch.arange(past, past + ids.shape[1], device=ids.device)[None]


def _embedding(model: nn.Module) -> Any:
    """The input embeddings. ZobenchError where there are none."""
    embed: Any = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None  # type: ignore[operator]
    if getattr(embed, "weight", None) is None:
        raise ZobenchError(f"prompt: {type(model).__name__} has no input embeddings that a prompt could stand before")
    return embed


def _embeddings(model: nn.Module, scope: Scope) -> str:
    """The name in the scope of the input embeddings' weight. ZobenchError where it is not there."""
    weight = _embedding(model).weight
    found = next((n for n, p in scope.named if p is weight), None)
    if found is None:
        raise ZobenchError(
            f"prompt: a prompt stands in the place of the input embeddings, which are not in the chosen scope "
            f"({where(scope)}); choose a scope that has them, such as all"
        )
    return found


def _body(model: nn.Module) -> nn.Module:
    """The model below its head. ZobenchError where it takes no embeddings, or no places."""
    body: nn.Module = getattr(model, "base_model", model)
    takes = [set(inspect.signature(one.forward).parameters) for one in (model, body)]
    if body is model or not all({"inputs_embeds", "position_ids"} <= names for names in takes):
        raise ZobenchError(
            f"prompt: {type(model).__name__} takes no embeddings and places of tokens; use parameterisation prefix"
        )
    return body


def _places(body: nn.Module, embed: nn.Module) -> int | None:
    """How many places the model has, where it learned them; None where there is an end to none of them."""
    for name, module in body.named_modules():
        own = name.rpartition(".")[2]
        if isinstance(module, nn.Embedding) and module is not embed and ("pos" in own or own == "wpe"):
            return module.num_embeddings - int(getattr(module, "offset", 0))
    return None


def prompts(model: nn.Module, scope: Scope | None = None) -> tuple[str, ...]:
    """What the tensor of a prompt would be called on this scope; None: on the whole model.

    Raises ZobenchError where there is no place for one.
    """
    _embeddings(model, Scope(list(model.named_parameters())) if scope is None else scope)
    _body(model)
    attending(model, "prompt")
    return (f"{NAME}.embeddings",)
