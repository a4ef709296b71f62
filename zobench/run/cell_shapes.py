"""Of a model, loaded or an outline, a scope and a task's rows: the sizes that memory and time depend on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import ZobenchError
from ..models.text import text_config

if TYPE_CHECKING:
    from ..models.load import LoadedModel
    from ..protocol.protocol import Protocol
    from ..scopes.scope import Scope
    from ..tasks.prepared import PreparedTask


@dataclass(frozen=True)
class CellShapes:
    """Of a model, a scope and the rows of a task what memory depends on."""

    weights: int
    """Bytes of all weights."""
    itemsize: int
    """Bytes of one."""
    scope: tuple[tuple[int, ...], ...]
    """Of the tensors that move; empty where a parameterisation stands for them, which are small then."""
    parameters: int
    block: int
    """Parameters of the model, and of its largest decoder block (0: none is found)."""
    width: int
    inner: int
    vocabulary: int
    tokens: int = 0
    """Of the largest forward of training."""
    answers: int = 0
    """Of its places those whose logits are computed."""
    longest: int = 0
    """Tokens of the longest row, to which a token has a mask."""
    replicated: int = 0
    """Tokens of the largest forward over rows as MeZO has them, which the baseline of the speed-up passes over."""

    @property
    def numel(self) -> int:
        """Parameters that move."""
        return sum(map(math.prod, self.scope))

    @property
    def largest(self) -> int:
        """Entries of the largest tensor that moves."""
        return max(map(math.prod, self.scope), default=0)

    @property
    def size(self) -> int:
        """Bytes of what moves, in the dtype of the weights."""
        return self.numel * self.itemsize


def shapes_of(
    loaded: LoadedModel, scope: Scope, prepared: PreparedTask | None = None, protocol: Protocol | None = None
) -> CellShapes:
    """The shapes of a model, loaded or an outline, with this scope; of a task's rows where they are given."""
    config = text_config(loaded.model)
    width = int(getattr(config, "hidden_size", 0) or loaded.model.get_input_embeddings().weight.shape[1])
    try:
        block = max(block.numel() for block in loaded.blocks)
    except ZobenchError:
        block = 0
    out = CellShapes(
        weights=loaded.weights_bytes,
        itemsize=scope.named[0][1].element_size(),
        scope=tuple(tuple(p.shape) for _, p in scope.named),
        parameters=loaded.parameters,
        block=block,
        width=width,
        inner=int(getattr(config, "intermediate_size", 0) or 4 * width),
        vocabulary=loaded.vocabulary,
    )
    if prepared is None or protocol is None:
        return out
    tokens, answers, padded = prepared.largest_batch(protocol.batch_size)
    whole = prepared.rows == "replicated" or protocol.logits == "all"
    own = padded if prepared.rows == "replicated" else tokens
    return replace(out, tokens=own, answers=own if whole else answers, longest=prepared.longest_row, replicated=padded)
