"""The decoder block at which the first token's state becomes massive, and stays: the ME layer."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zobench import Batch, Count, Fraction, Positive, Scope, SelectionContext, Selector, ZobenchError, body_forward


@dataclass(frozen=True)
class Emergence:
    """What a block does to the first token's state h."""

    index: int
    growth: float | None
    """Mean |h| after the block over mean |h| before it; None where that was 0."""
    kept: float
    """The median, over the later blocks but the last, of the mean cosine between h after this block and after that."""


class EmergenceLayer(Selector):
    """The first block that amplifies the first token's state, in a direction that the later blocks keep (ME layer).

    Shi et al. 2026 (arXiv:2605.08504): massive activations first appear in the first token's state at one layer, whose
    norm and MLP together amplify it "by hundreds of times"; from there the residual stream carries it on with a
    direction that hardly changes. Here: the first block with growth |h_l| / |h_(l-1)| of at least `growth`, and with
    a median cosine of at least `direction` between h_l and the states after later blocks. The last block is left out
    of the median: many models take the massive activation away there.

    first_outlier looks at all tokens and at size alone; this rule looks at the first token, and wants it to last.

    Defaults: growth 10 and direction 0.9 are ours; 32 training examples, as first_outlier.
    Forwards: one a calibration batch. Embeddings, head and final norm do not move, as in the dominant layer.
    Public code: vanpe20/ME_Layer draws |h| of the first token, channel by channel, over the blocks for one prompt; the
    layer is read off the picture, no rule names it.
    Not verified: the paper's text was not at hand, nor a model whose ME layer it names.
    """

    reference: ClassVar[str] = "Shi et al. 2026, arXiv:2605.08504"
    public_code: ClassVar[str] = "vanpe20/ME_Layer (no licence seen): draws a picture; no rule names the layer"
    verified: ClassVar[bool | None] = False
    planted: ClassVar = {"outlier": 0}

    growth: Positive = 10.0
    """The least factor by which the block amplifies the state."""
    direction: Fraction = 0.9
    """The least cosine with which the later blocks keep it."""
    batches: Count = 4
    """Training batches to look at, one forward pass each."""
    batch_size: Count = 8
    """Training examples in each."""

    def select(self, context: SelectionContext) -> Scope:
        """That block. ZobenchError, with the numbers nearest to one, where there is none."""
        rows = emergence(context, self.batches, self.batch_size)
        fit = [r for r in rows if (r.growth is None or r.growth >= self.growth) and r.kept >= self.direction]
        chosen = fit[0].index if fit else None
        context.note(chosen=chosen, growth=self.growth, direction=self.direction, blocks=[asdict(row) for row in rows])
        if chosen is None:
            most = max(rows, key=lambda row: row.growth or 0.0)
            raise ZobenchError(
                f"emergence_layer: {context.loaded.name} has no block that amplifies the first token's state by "
                f"{self.growth:g} for good: the most is x{most.growth or 0:.1f}, at block {most.index}, kept with a "
                f"cosine of {most.kept:.2f}; lower emergence_layer.growth (or .direction)"
            )
        return context.layers(chosen)

    def expected_forwards(self, blocks: int, step: int, dev: int) -> int:
        """One a calibration batch."""
        return self.batches


@torch.no_grad()
def emergence(context: SelectionContext, batches: int, batch_size: int) -> list[Emergence]:
    """One entry a block; one forward pass a batch, counted."""
    blocks = context.blocks
    states: list[list[Tensor]] = [[] for _ in range(len(blocks) + 1)]  # before block 0, after block 0, ...
    current: list[Tensor] = []

    def keep(place: int, stream: Any) -> None:
        stream = stream[0] if isinstance(stream, tuple | list) else stream
        first = current[0].to(stream.device)
        states[place].append(stream[torch.arange(len(first), device=stream.device), first].cpu().double())

    with ExitStack() as hooks:
        for place, block in enumerate(blocks):
            hooks.callback(block.module.register_forward_hook(_after(keep, place + 1)).remove)
        hooks.callback(blocks[0].module.register_forward_pre_hook(_before(keep), with_kwargs=True).remove)
        for batch in context.calibration(batches, batch_size):
            current[:] = [_first(batch)]
            body_forward(context.loaded, batch)
            context.count("calibration", 1)
    h = [torch.cat(of) for of in states]
    sizes = [float(of.norm(dim=1).mean()) for of in h]
    out = []
    for place in range(1, len(h)):
        later = [float(nn.functional.cosine_similarity(h[place], of).mean()) for of in h[place + 1 : -1]]
        before = sizes[place - 1]
        growth = sizes[place] / before if before > 0 else None
        out.append(Emergence(blocks[place - 1].index, growth, statistics.median(later) if later else 1.0))
    return out


def _first(batch: Batch) -> Tensor:
    """Where each row's first real token stands, int64 (rows,)."""
    return batch.attention_mask.int().argmax(dim=1)


def _after(keep: Callable[[int, Any], None], place: int) -> Callable[[nn.Module, Any, Any], None]:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        keep(place, output)

    return hook


def _before(keep: Callable[[int, Any], None]) -> Callable[[nn.Module, Any, dict[str, Any]], None]:
    def hook(module: nn.Module, inputs: Any, named: dict[str, Any]) -> None:
        keep(0, inputs[0] if inputs else named["hidden_states"])

    return hook
