"""A few decoder blocks for some steps, then others: LISA."""

from __future__ import annotations

from typing import ClassVar

from zobench import Count, Scope, SelectionContext, Selector

from .turns import a_step, by_turns, draw

GAMMA = 2
"""Blocks at a time, as LMFlow has it."""


class LISA(Selector):
    """Every K steps gamma decoder blocks are drawn uniformly, without replacement; the others are frozen.

    Pan et al. 2024 (arXiv:2403.17919), algorithm 1: sampling probabilities (1, gamma/L, ..., gamma/L, 1), where the
    ones are the embedding and the head. A first-order method there (AdamW); here only its scope.

    Defaults: gamma 2 and K 20, as in the authors' LMFlow (src/lmflow/args.py). Embeddings, head and final norm always
    move: the code freezes decoder blocks alone.
    Forwards: none to select.
    Public code: OptimalScale/LMFlow draws as here (src/lmflow/pipeline/rm_tuner.py); its newer trainer
    (pipeline/utils/lisa_trainer.py at 4ca5ac3) has the draw commented out and alternates blocks 1, 2 and 3, 4.
    """

    turns: ClassVar[bool] = True
    reference: ClassVar[str] = "LISA: Pan et al. 2024, arXiv:2403.17919, algorithm 1"
    public_code: ClassVar[str] = "OptimalScale/LMFlow (Apache-2.0): its newer trainer has the draw commented out"
    verified: ClassVar[bool | None] = True
    argument: ClassVar[str] = "gamma"

    gamma: Count | None = None
    """Blocks at a time; none: 2, or all where there are fewer."""
    every: Count = 20
    """Steps that a draw holds for: K."""
    rest: bool = True
    """Whether embeddings, head and final norm move, at every step."""

    def check(self, blocks: int) -> None:
        """ZobenchError for a gamma above the model's blocks."""
        a_step(self.gamma, GAMMA, blocks, "lisa.gamma")

    def select(self, context: SelectionContext) -> Scope:
        """The schedule. ZobenchError for a gamma above the model's blocks."""
        n = len(context.blocks)
        k = a_step(self.gamma, GAMMA, n, "lisa.gamma")
        return by_turns(context, lambda turn: draw([1.0] * n, k, context.seed, turn), every=self.every, rest=self.rest)

    def expected_forwards(self, blocks: int, step: int, dev: int) -> int:
        return 0
