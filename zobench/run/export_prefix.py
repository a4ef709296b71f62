"""A trained prefix as peft has one: keys and values of every block, the text's places counted on after them.

A prefix of zobench stands before the text and leaves the text's places as they are; peft's moves them on by its
length, m. A model with rotary places sees differences of places alone, so the same keys turned on by m places are the
same prefix there. A model that learned its places sees other ones, and peft has no format for that.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from ..errors import ZobenchError, library
from ..models.text import CACHES
from ..parameterisations.prefix import NAME

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..models.load import LoadedModel

TOLERANCE = {"float32": 1e-4, "float16": 0.01, "bfloat16": 0.05}
"""Of the largest logit: how far peft's form may be off."""
LENGTH = 24
"""Tokens of the text that it is tried on."""

Held = Mapping[str, "tuple[Tensor, Tensor]"]
"""Attention module -> its prefix's keys and values, both (key-value heads, m, head size)."""


def held(model: nn.Module, tensors: Mapping[str, Tensor]) -> Held:
    """The trained tensors by attention module, in the model's order."""
    modules = {name.rpartition(f".{NAME}.")[0] for name in tensors}
    names = [name for name, _ in model.named_modules() if name in modules]
    return {n: (tensors[f"{n}.{NAME}.keys"], tensors[f"{n}.{NAME}.values"]) for n in names}


def text_for(loaded: LoadedModel) -> Tensor:
    """Random tokens, the same at every call: int64 (1, LENGTH)."""
    vocabulary = loaded.model.get_input_embeddings().num_embeddings
    ids = torch.randint(vocabulary, (1, LENGTH), generator=torch.Generator().manual_seed(0))
    return ids.to(loaded.device)


@torch.no_grad()
def save_prefix(loaded: LoadedModel, tensors: Mapping[str, Tensor], wanted: Tensor, out: Path) -> None:
    """Write the adapter into `out`. wanted: the logits of `text_for` with the prefix as it was trained.

    Raises ZobenchError where blocks have no prefix, and where peft's form of it does not give these logits.
    """
    prefix, blocks = held(loaded.model, tensors), int(loaded.model.config.num_hidden_layers)
    if len(prefix) < blocks:
        raise ZobenchError(
            f"its prefix stands in {len(prefix)} of {blocks} blocks, and peft's must stand in all: no format has it; "
            "`zobench replay` writes its keys and values"
        )
    if len({(k.shape, v.shape) for k, v in prefix.values()}) > 1 or any(k.shape != v.shape for k, v in prefix.values()):
        raise ZobenchError("the blocks' keys and values differ in shape, and peft has one shape for all")
    form = next((one for one in _forms(loaded.model, prefix) if _gives(loaded, one, wanted)), None)
    if form is None:
        raise ZobenchError(
            f"peft counts the places of a text on after its prefix, where {type(loaded.model).__name__} answers "
            "otherwise; `zobench replay` writes its keys and values"
        )
    heads, length, size = next(iter(form.values()))[0].shape
    config = library("peft", "export of a prefix").PrefixTuningConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=loaded.name,
        num_virtual_tokens=length,
        token_dim=heads * size,
        num_attention_heads=heads,
        num_layers=blocks,
        num_transformer_submodules=1,
        inference_mode=True,
    )
    config.save_pretrained(out)
    rows = torch.stack([one for pair in form.values() for one in pair])  # (2 blocks, heads, m, size), keys first
    embedded = rows.permute(2, 0, 1, 3).reshape(length, -1).float().contiguous().cpu()
    save_file({"prompt_embeddings": embedded}, out / "adapter_model.safetensors", metadata={"format": "pt"})


def _forms(model: nn.Module, prefix: Held) -> list[Held]:
    """What the prefix may be with the text's places moved on by its length: turned by rotary places, or as it is."""
    turned = _turned(model, prefix)
    return [prefix] if turned is None else [turned, prefix]


def _turned(model: nn.Module, prefix: Held) -> Held | None:
    """The keys turned on by m places, as the model's own rotary module and function turn them; None without these."""
    out: dict[str, tuple[Tensor, Tensor]] = {}
    for name, (keys, values) in prefix.items():
        module = model.get_submodule(name)
        apply = getattr(sys.modules[type(module).__module__], "apply_rotary_pos_emb", None)
        rotary = _rotary(model, name)
        if apply is None or rotary is None:
            return None
        places = torch.full((1, 1), keys.shape[1], device=keys.device)
        wide = keys[None].float()
        if set(inspect.signature(rotary.forward).parameters) - {"x", "position_ids", "seq_len"}:
            return None  # several kinds of places in one model
        cos, sin = (one / float(getattr(rotary, "attention_scaling", 1.0)) for one in rotary(wide, places))
        turning = wide[..., : cos.shape[-1]]
        turning = apply(turning, turning, cos, sin)[1]
        moved = torch.cat((turning, wide[..., cos.shape[-1] :]), -1)[0]
        out[name] = (moved, values)
    return out


def _rotary(model: nn.Module, attention: str) -> Any:
    """The rotary module that serves an attention module: its own, or that of the nearest module above it."""
    parts = attention.split(".")
    for n in range(len(parts), -1, -1):
        found = getattr(model.get_submodule(".".join(parts[:n])), "rotary_emb", None)
        if found is not None:
            return found
    return None


def _gives(loaded: LoadedModel, form: Held, wanted: Tensor) -> bool:
    """Whether the model with this in its cache, as peft puts it there, gives the logits."""
    from transformers import DynamicCache

    cache, dtype = DynamicCache(), next(loaded.model.parameters()).dtype
    for block, pair in enumerate(form.values()):
        cache.update(*(one[None].to(dtype) for one in pair), block)
    ids = text_for(loaded)
    length = next(iter(form.values()))[0].shape[1] + ids.shape[1]
    takes = inspect.signature(loaded.model.forward).parameters
    given = {next((name for name in CACHES if name in takes), "past_key_values"): cache}
    got = loaded.model(input_ids=ids, attention_mask=ids.new_ones(1, length), **given).logits
    off = (got.float() - wanted.float()).abs().max()
    return bool(off <= TOLERANCE[loaded.dtype] * wanted.float().abs().max())
