"""Places of tokens in padded rows, for models that would count the padding.

MeZO passes no `position_ids`: rotary models look at differences of places only, and OPT counts from the mask. Models
with a table of places that count from the left edge of the batch (GPT-2, GPT-Neo, GPT-BigCode, the first GPT) would
see a row elsewhere when it is padded than when it is alone, so they are told where it begins.
"""

from __future__ import annotations

from torch import Tensor, nn

TABLES = ("wpe", "positions_embed")
"""What such models call their table of places."""


def counts_from_the_row(model: nn.Module) -> bool:
    """Whether `model` must be told the places of the tokens of a padded row."""
    return any(isinstance(m, nn.Embedding) and n.rpartition(".")[2] in TABLES for n, m in model.named_modules())


def position_ids(attention_mask: Tensor) -> Tensor:
    """Places (int64, rows x length) counted from the first token that is not padding; 0 for padding."""
    return (attention_mask.cumsum(-1) - 1).clamp(min=0)
