"""The last decoder block, of which only some tokens are looked at: keys and values of all, the rest of these alone.

Behind the last block nothing passes from token to token, so that queries, attention outputs and the MLP of tokens
that no answer is predicted from are never read. For blocks as LLaMA has them, whose parts are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..devices import sent
from ..forwards import replaced
from .blocks import Block
from .text import goes_on

PARTS = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
PROJECTIONS = {"q_proj", "k_proj", "v_proj", "o_proj"}
NORMS = {"q_norm", "k_norm"}
KNOWN = ("sdpa", "eager")
"""Attention functions whose result is the plain one, for which a block of this module may stand in."""


@dataclass(frozen=True)
class Places:
    """Where a forward over rows is looked at."""

    at: Tensor
    """int64 (n,): places in the flattened tokens of the rows."""
    slot: Tensor
    """int64 (n,): the number of each place among those of its row."""
    slots: int
    """How many places the fullest row has."""
    tokens: int
    """Of all rows, padding included."""

    def to(self, device: torch.device | str) -> Places:
        """The same with its tensors on `device`."""
        return Places(sent(self.at, device), sent(self.slot, device), self.slots, self.tokens)

    def of(self, x: Tensor) -> Tensor:
        """From (rows of all copies, length, ...) what is at the places: (copies, n, ...)."""
        return x.reshape(-1, self.tokens, *x.shape[2:]).index_select(1, self.at)


class Tail:
    """The last block of a model, able to put out the states of chosen tokens alone.

    Its modules are called as they are found at each forward, so that other weights, adapters and points side by side
    are seen. It is not `free` while something watches one of them (a hook) or attention is not computed in the plain
    way.
    """

    def __init__(self, block: nn.Module) -> None:
        self.block: Any = block

    @classmethod
    def of(cls, blocks: Sequence[Block]) -> Tail | None:
        """The tail of a model with these blocks; None where the last one has other parts than LLaMA's (with or without
        norms of queries and keys, as Qwen3 has them). Whether it computes the same is for the caller to try.
        """
        block = blocks[-1].module
        attention: Any = getattr(block, "self_attn", None)
        if {n for n, _ in block.named_children()} != PARTS or attention is None:
            return None
        inside = {n for n, _ in attention.named_children()}
        fits = inside in (PROJECTIONS, PROJECTIONS | NORMS)
        return cls(block) if fits and all(hasattr(attention, n) for n in ("scaling", "head_dim", "config")) else None

    @contextmanager
    def only(self, places: Places) -> Iterator[None]:
        """Inside, the block puts out the states at these places: (1, n, hidden); of a forward over several copies of
        the rows, one after the other, those of each: (copies, n, hidden).
        """
        plain = self.block.forward

        def forward(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
            if not args and _takes(kwargs):
                return self._chosen(hidden_states, places, **kwargs)
            out = plain(hidden_states, *args, **kwargs)
            return (places.of(out[0]), *out[1:]) if isinstance(out, tuple) else places.of(out)

        with replaced({self.block: forward}):
            yield

    @property
    def free(self) -> bool:
        """Whether nothing is attached to the block that would see or change what all tokens put out."""
        inside = list(self.block.modules())[1:]
        watched = any(m._forward_hooks or m._forward_pre_hooks for m in inside) or self.block._forward_hooks
        return not watched and self.block.self_attn.config._attn_implementation in KNOWN

    def _chosen(
        self,
        hidden: Tensor,
        places: Places,
        *,
        attention_mask: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        **_: Any,
    ) -> Tensor:
        attention, rows, length = self.block.self_attn, *hidden.shape[:2]
        entering = self.block.input_layernorm(hidden)
        keys = _heads(attention.k_proj(entering), attention, "k_norm")
        values = _heads(attention.v_proj(entering), attention)
        queries = _heads(attention.q_proj(places.of(entering)), attention, "q_norm")
        cos, sin = (x.expand(rows, *x.shape[1:])[..., None, :] for x in position_embeddings)
        keys, queries = _turned(keys, cos, sin), _turned(queries, places.of(cos), places.of(sin))
        seen = attention_mask.expand(rows, 1, length, length)
        out = _attended(queries, keys, values, seen, places, attention.scaling)
        stream = places.of(hidden) + attention.o_proj(out)
        made: Tensor = stream + self.block.mlp(self.block.post_attention_layernorm(stream))
        return made


def _takes(kwargs: dict[str, Any]) -> bool:
    """Whether a call of the block says all that its stand-in needs: a mask of every two tokens, and rotary angles."""
    mask, angles = kwargs.get("attention_mask"), kwargs.get("position_embeddings")
    return isinstance(mask, Tensor) and mask.ndim == 4 and isinstance(angles, tuple) and not goes_on(kwargs)


def _heads(x: Tensor, attention: Any, norm: str = "") -> Tensor:
    """(rows, length, heads, head size), normed where the attention module has such a norm."""
    heads = x.view(*x.shape[:-1], -1, attention.head_dim)
    if norm and hasattr(attention, norm):
        normed: Tensor = getattr(attention, norm)(heads)
        return normed
    return heads


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary places (Su et al. 2021, arXiv:2104.09864), halves of a head as LLaMA pairs them."""
    one, other = x.chunk(2, -1)
    return x * cos + torch.cat((-other, one), -1) * sin


def _attended(queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor, places: Places, scale: float) -> Tensor:
    """Attention of chosen queries, (copies, n, heads, size), each over the row that it lies in: (copies, n, width).

    One batched product over rows: queries stand in as many slots a row as the fullest row has. seen: (rows of all
    copies, 1, length, length), bool or what is added.
    """
    copies, rows, length = queries.shape[0], seen.shape[0] // queries.shape[0], seen.shape[-1]
    row, column = places.at // length, places.at % length
    table = queries.new_zeros(copies, rows, places.slots, *queries.shape[2:])
    table[:, row, places.slot] = queries
    mask = seen.new_ones(copies, rows, places.slots, length)  # an empty slot looks at all, so that it is no NaN
    mask[:, row, places.slot] = seen.view(copies, rows, length, length)[:, row, column]
    out = F.scaled_dot_product_attention(
        table.flatten(0, 1).transpose(1, 2),
        keys.transpose(1, 2),
        values.transpose(1, 2),
        attn_mask=mask.flatten(0, 1)[:, None],
        scale=scale,
        enable_gqa=queries.shape[2] != keys.shape[2],
    )
    return out.transpose(1, 2).reshape(copies, rows, places.slots, -1)[:, row, places.slot]
