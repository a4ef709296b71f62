"""Other decoder blocks at every step, drawn at random: LeZO."""

from __future__ import annotations

from typing import Annotated, ClassVar

from zobench import Count, Range, Scope, SelectionContext, Selector

from .turns import a_step, by_turns, draw


class RandomLayers(Selector):
    """Of L decoder blocks, L - round(sparsity L) drawn anew at every step; the others rest (LeZO).

    Wang et al. 2024 (arXiv:2410.09823): z' = R(z, rho, s), a Gaussian direction that is zero on a share rho of the
    layers, chosen by the step's seed; both looks and the update are along z'. Here a step's scope is those layers.

    With `count=1` and `rest=false` it is MeZO-BCD with a random order (arXiv:2501.19099).

    Defaults: sparsity 0.75, as LeZO is commonly quoted. Embeddings, head and final norm always move: the paper means
    to fine-tune all parameters and drops layers alone.
    Forwards: none to select; a step's are the estimator's.
    Not verified: the paper's text was not at hand, nor is there code (WangFei-2019/LeZO holds a README); the sparsity,
    its rounding, and that what is in no layer always moves are readings of the abstract and of third parties.
    """

    turns: ClassVar[bool] = True
    reference: ClassVar[str] = "LeZO: Wang et al. 2024, arXiv:2410.09823"
    public_code: ClassVar[str] = "WangFei-2019/LeZO holds a README alone"
    verified: ClassVar[bool | None] = False
    argument: ClassVar[str] = "sparsity"

    sparsity: Annotated[float, Range(ge=0, lt=1)] = 0.75
    """The share of the blocks that rest in a step; at least one moves."""
    count: Count | None = None
    """Blocks that move in a step, in place of a share."""
    every: Count = 1
    """Steps that a draw holds for."""
    rest: bool = True
    """Whether embeddings, head and final norm move, at every step."""

    def check(self, blocks: int) -> None:
        """ZobenchError for a count above the model's blocks."""
        a_step(self.count, 1, blocks, "random_layers.count")

    def select(self, context: SelectionContext) -> Scope:
        """The schedule. ZobenchError for a count above the model's blocks."""
        n = len(context.blocks)
        k = a_step(self.count, max(1, n - round(self.sparsity * n)), n, "random_layers.count")
        return by_turns(context, lambda turn: draw([1.0] * n, k, context.seed, turn), every=self.every, rest=self.rest)

    def expected_forwards(self, blocks: int, step: int, dev: int) -> int:
        return 0
