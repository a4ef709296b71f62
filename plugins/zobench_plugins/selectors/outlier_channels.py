"""The outlier channels of one block's MLP, or what is left without them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from zobench import (
    Block,
    Count,
    Natural,
    Positive,
    Range,
    Scope,
    SelectionContext,
    Selector,
    ZobenchError,
    block_activations,
    choose_block,
    complement,
)

from .inside import MLP, Linear, inputs_seen, mlp_of
from .turns import within

Part = Literal["top", "mlp", "mlp_without_top", "layer_without_top"]


class OutlierChannels(Selector):
    """Of the dominant layer the MLP channels with the largest activations, or all but those.

    arXiv:2606.05516, section 5.4 and table 6: the top 1% activation-outlier channels of the dominant layer's MLP (part
    `top`), the whole MLP (`mlp`), the MLP without them, and the layer without them. Appendix B.3, equation 7, counts
    3 H k entries for k channels, H the hidden size: those are k of the MLP's own channels, rows of the gate and up
    matrices and columns of the down matrix, as chosen here; k hidden channels would be 3 I k. Where the matrices into
    the channels have biases, a channel's entries are part of it; the bias of the down matrix is part of the MLP only.

    A channel's size is the largest |activation| that enters the down matrix, over the real tokens of the calibration
    set. The block is the first outlier block by first_outlier's rule `plateau`, unless `index` names another.

    Defaults: 1% as in the paper, rounded, at least one channel; 32 training examples, as first_outlier.
    Forwards: one a calibration batch; none for part mlp of a named block. Norms, embeddings and head do not move,
    but for the block's own norms and attention in part layer_without_top.
    Not verified: the paper says neither how channels are ranked nor on which examples.
    """

    reference: ClassVar[str] = "arXiv:2606.05516, section 5.4, table 6; appendix B.3, equation 7"
    public_code: ClassVar[str] = "none found"
    verified: ClassVar[bool | None] = False
    argument: ClassVar[str] = "part"
    planted: ClassVar = {"outlier": 0}

    part: Part = "top"
    """What moves: the top channels, the MLP, the MLP without them, or the whole block without them."""
    share: Annotated[float, Range(gt=0, lt=1)] = 0.01
    """Of the channels, how many are on top."""
    index: Natural | None = None
    """The block; none: the first outlier block."""
    ratio: Positive | None = None
    """Where no block is named: the least max/median of one that is an outlier; none: 100, as first_outlier."""
    batches: Count = 4
    """Training batches to look at, one forward pass each."""
    batch_size: Count = 8
    """Training examples in each."""

    def check(self, blocks: int) -> None:
        """ZobenchError for a block that the model does not have."""
        if self.index is not None:
            within("outlier_channels.index", [self.index], blocks)

    def select(self, context: SelectionContext) -> Scope:
        """That part. ZobenchError where no block is an outlier, or the block's MLP is of no known kind."""
        if self.index is not None:
            context.layers(self.index)  # told before anything is run
        peaks: dict[str, Tensor] = {}
        if self.index is None or self.part != "mlp":
            block, peaks = self._look(context)
        else:
            block = context.blocks[self.index]
        mlp = mlp_of(block)
        whole = Scope(_parameters(context, {f"{one.name}." for one in (*mlp.up, mlp.down)}), layers=(block.index,))
        if self.part == "mlp":
            context.note(chosen=block.index, part=self.part, channels=mlp.channels)
            return whole
        k = max(1, round(self.share * mlp.channels))
        values, channels = peaks[mlp.down.name].topk(k)
        context.note(
            chosen=block.index,
            part=self.part,
            channels=mlp.channels,
            top=channels.tolist(),
            top_activations=[float(v) for v in values],
            median_activation=float(peaks[mlp.down.name].median()),
        )
        top = _top(whole, mlp, channels, block.index)
        if self.part == "top":
            return top
        return complement(whole if self.part == "mlp_without_top" else context.layers(block.index), top, [block])

    def expected_forwards(self, blocks: int, step: int, dev: int) -> int:
        """One a calibration batch, where there is something to find."""
        return self.batches if self.index is None or self.part != "mlp" else 0

    def _look(self, context: SelectionContext) -> tuple[Block, dict[str, Tensor]]:
        """The block, and the largest |activation| of its MLP's channels, by the name of the matrix they enter."""
        candidates = context.blocks if self.index is None else [context.blocks[self.index]]
        peaks: dict[str, Tensor] = {}

        def see(name: str, x: Tensor) -> None:
            size = x.abs().amax(0).float()
            peaks[name] = torch.maximum(peaks[name], size) if name in peaks else size

        with inputs_seen([mlp_of(block).down for block in candidates], see) as through:
            calibration = context.calibration(self.batches, self.batch_size)
            table = block_activations(context.loaded, through(calibration))
        context.count("calibration", len(calibration))
        index = choose_block(table, ratio=self.ratio) if self.index is None else self.index
        context.note(activations=[asdict(row) for row in table])
        if index is None:
            raise ZobenchError(
                f"outlier_channels: {context.loaded.name} has no outlier block; "
                "name one: --set outlier_channels.index=K, or lower outlier_channels.ratio"
            )
        return context.blocks[index], peaks


def _parameters(context: SelectionContext, prefixes: set[str]) -> list[tuple[str, Tensor]]:
    """The model's parameters whose names begin with one of the prefixes, in its order."""
    return [(n, p) for n, p in context.everything().named if any(n.startswith(prefix) for prefix in prefixes)]


def _top(whole: Scope, mlp: MLP, channels: Tensor, index: int) -> Scope:
    """The entries of these channels: of the matrices into them, of their biases, and of the matrix out of them."""
    params, masks = dict(whole.named), dict[str, Tensor]()
    chosen = torch.zeros(mlp.channels, dtype=torch.bool)
    chosen[channels.cpu()] = True
    for one in mlp.up:
        copies = one.module.weight.shape[one.outputs] // mlp.channels  # 2 where gate and up are one matrix
        masks |= _masks(one, chosen.repeat(copies), params, outputs=True)
    masks |= _masks(mlp.down, chosen, params, outputs=False)
    return Scope([(name, p) for name, p in whole.named if name in masks], masks=masks, layers=(index,))


def _masks(one: Linear, chosen: Tensor, params: dict[str, Tensor], *, outputs: bool) -> dict[str, Tensor]:
    """Masks of a linear layer's parameters: of its weight, and of its bias where `chosen` is of its outputs."""
    weight = params[f"{one.name}.weight"]
    masks: dict[str, Tensor] = {
        f"{one.name}.weight": one.along(chosen, outputs=outputs).to(weight.device).expand(weight.shape)
    }
    if outputs and f"{one.name}.bias" in params:
        masks[f"{one.name}.bias"] = chosen.to(weight.device)
    return masks
