"""What a line of the log says of the model: its loss on held-out rows, and the activations of every block there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from zobench import LoadedModel, block_activations

from .model import loss, precision
from .packing import PackedPart
from .tokenizer import BOS_ID, PAD_ID


@torch.no_grad()
def validation_loss(model: Any, parts: Sequence[PackedPart], dtype: str) -> float:
    """The weighted cross-entropy over all parts (whose weights sum to 1), in nats a token."""
    total = torch.zeros((), dtype=torch.float64, device=model.device)
    for part in parts:
        with precision(model.device, dtype):
            total += loss(model, part.to(model.device)).double()
    return float(total)


def activations(model: Any, tokenizer: Any, parts: Sequence[PackedPart], dtype: str) -> list[dict[str, Any]]:
    """For every block, |h| of the stream it puts out over all tokens of the rows, and where the largest is.

    Keys: block, max, median, ratio (max/median), position (in the row), channel, token, bos (whether it is at BOS).
    """
    loaded = LoadedModel(
        name="pre-training",
        revision=None,
        model=model,
        tokenizer=tokenizer,
        device=model.device,
        dtype="float32",
        context_length=model.config.max_position_embeddings,
        pad_id=PAD_ID,
    )
    with precision(model.device, dtype):
        table = block_activations(loaded, parts)
    return [
        {
            "block": row.index,
            "max": row.max,
            "median": row.median,
            "ratio": row.ratio,
            "position": row.position,
            "channel": row.channel,
            "token": str(tokenizer.convert_ids_to_tokens(row.token)),
            "bos": row.token == BOS_ID,
        }
        for row in table
    ]
