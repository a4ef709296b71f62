"""A few decoder blocks for some steps, drawn the more often the more outliers they have: OwLore."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from zobench import (
    Block,
    Count,
    Positive,
    Scope,
    SelectionContext,
    Selector,
    ZobenchError,
    body_forward,
    wide,
)

from .inside import Linear, inputs_seen, linear_layers
from .turns import a_step, by_turns, draw

GAMMA = 5
"""Blocks at a time, as the authors' scripts have it."""

Mode = Literal["owl", "owl_reverse", "uniform", "increase", "decrease"]


class OwLore(Selector):
    """As LISA, but with a block's share of outlier weights as its probability.

    Li et al. 2024 (arXiv:2405.18380, later named OWS), section 3, with the score of OWL (Yin et al. 2023,
    arXiv:2310.05175): A_ij = |W_ij| |X_j|_2 over all linear layers of block l, X_j the inputs of column j over all
    tokens; D_l = share of entries with A_ij > M mean(A); p_l = D_l / sum(D). Every `every` steps gamma blocks are drawn
    without replacement. The low-rank projection of its gradients is the estimator's affair, and not here.

    Defaults: gamma 5 and 50 steps, as its scripts; M 13, after its file of scores (`ratio_13`). Embeddings, head and
    final norm always move: the code freezes decoder blocks alone. The calibration set is ours: 32 training examples of
    the task, where OWL takes 128 sequences of C4.
    Modes: owl_reverse takes max(p) - p; uniform is LISA; increase and decrease weigh blocks by 1..L and L..1.
    Forwards: one a calibration batch, none for uniform, increase and decrease.
    Public code: pixeli99/OwLore reads the scores from metric_cache/llama2_ratio_13.txt, which is not in it
    (llama2_7b_ratio_13.txt is), so that mode owl ends in FileNotFoundError as released; they are of LLaMA2-7B only.
    Not verified: the scores were not compared with the released ones, of which M = 13 is read off a file's name.
    """

    turns: ClassVar[bool] = True
    reference: ClassVar[str] = "OwLore: Li et al. 2024, arXiv:2405.18380, section 3; OWL: arXiv:2310.05175"
    public_code: ClassVar[str] = "pixeli99/OwLore (no licence seen): mode owl reads a file of scores that is not there"
    verified: ClassVar[bool | None] = False
    argument: ClassVar[str] = "mode"
    exercise: ClassVar = {"gamma": 2}

    mode: Mode = "owl"
    """How likely a block is: its share of outliers, the reverse, all alike, or by depth."""
    gamma: Count | None = None
    """Blocks at a time; none: 5, or all of a probability above 0 where those are fewer."""
    every: Count = 50
    """Steps that a draw holds for."""
    threshold: Positive = 13.0
    """M: an entry is an outlier above so many times the mean of its block."""
    rest: bool = True
    """Whether embeddings, head and final norm move, at every step."""
    batches: Count = 4
    """Training batches to look at, one forward pass each."""
    batch_size: Count = 8
    """Training examples in each."""

    def check(self, blocks: int) -> None:
        """ZobenchError for a gamma above the model's blocks."""
        a_step(self.gamma, GAMMA, blocks, "owlore.gamma")

    def select(self, context: SelectionContext) -> Scope:
        """The schedule. ZobenchError for a gamma above the blocks that can be drawn."""
        n = len(context.blocks)
        weights = self._weights(context)
        likely = sum(w > 0 for w in weights)
        k = a_step(self.gamma, min(GAMMA, likely), n, "owlore.gamma")
        if not 0 < k <= likely:
            mend = "lower owlore.threshold or owlore.gamma, or take selector lisa"
            raise ZobenchError(f"owlore: {likely} of {n} blocks can be drawn, and {k or 1} must be; {mend}")
        return by_turns(context, lambda turn: draw(weights, k, context.seed, turn), every=self.every, rest=self.rest)

    def expected_forwards(self, blocks: int, step: int, dev: int) -> int:
        """One a calibration batch, where outliers decide."""
        return self.batches if self.mode.startswith("owl") else 0

    def _weights(self, context: SelectionContext) -> list[float]:
        """A number for each block, in proportion to its probability."""
        n = len(context.blocks)
        if not self.mode.startswith("owl"):
            return {"uniform": [1.0] * n, "increase": [i + 1.0 for i in range(n)]}.get(
                self.mode, [float(n - i) for i in range(n)]
            )
        shares = outlier_shares(context, self.batches, self.batch_size, self.threshold)
        context.note(mode=self.mode, threshold=self.threshold, outlier_shares=shares)
        return shares if self.mode == "owl" else [max(shares) - share for share in shares]


@torch.no_grad()
def outlier_shares(context: SelectionContext, batches: int, batch_size: int, threshold: float) -> list[float]:
    """D_l for each block, from 0 to 1; one forward pass a batch, counted."""
    by_block = {block.index: linear_layers(block) for block in context.blocks}
    squares: dict[str, Tensor] = {}

    def see(name: str, x: Tensor) -> None:
        total = wide(x).square().sum(0)
        squares[name] = squares[name] + total if name in squares else total

    with inputs_seen([one for linears in by_block.values() for one in linears], see) as through:
        for batch in through(context.calibration(batches, batch_size)):
            body_forward(context.loaded, batch)
            context.count("calibration", 1)
    return [_share(block, by_block[block.index], squares, threshold) for block in context.blocks]


def _share(block: Block, linears: list[Linear], squares: dict[str, Tensor], threshold: float) -> float:
    """Entries of A above threshold times its mean, over all entries, A taken over the linear layers together."""
    if not linears:
        raise ZobenchError(f"owlore: {block.name} has no linear layers to score; take selector lisa")
    total, count = 0.0, 0
    for one in linears:
        total += float(wide(_scores(one, squares)).sum())
        count += one.module.weight.numel()
    limit = threshold * total / count
    return sum(int((_scores(one, squares) > limit).sum()) for one in linears) / count


def _scores(one: Linear, squares: dict[str, Tensor]) -> Tensor:
    """A of a linear layer, in the shape of its weight, float32."""
    norms = squares[one.name].sqrt().float().to(one.module.weight.device)
    weight: Tensor = one.module.weight
    return weight.float().abs() * one.along(norms, outputs=False)
