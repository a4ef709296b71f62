"""Every block tried alone for a short while; the one that does best on dev."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from zobench import Count, Natural, Positive, ProbeResult, Scope, SelectionContext, Selector, ZobenchError

from .turns import within


class ExhaustiveSweep(Selector):
    """Fine-tune each block alone and keep the best: the search that found the dominant layer.

    The paper's search is the full 10,000 steps a block; `steps` is the price that this one pays for each.
    """

    reference: ClassVar[str] = "arXiv:2606.05516, section 3.2"
    public_code: ClassVar[str] = "none found"
    verified: ClassVar[bool | None] = True
    exercise: ClassVar = {"steps": 2}
    presets: ClassVar = {"smoke": {"steps": 4}, "small": {"steps": 8}}

    steps: Count = 200
    """Training steps for each block."""
    lr: Positive | None = None
    """Of the short runs; none: the first of the cell's learning rates."""
    by: Literal["dev_loss", "dev_metric"] = "dev_loss"
    """What decides; equal blocks are told apart by the other one, then the lower index wins."""
    blocks: tuple[Natural, ...] = ()
    """The blocks to try; none named: all of them."""

    def check(self, blocks: int) -> None:
        """ZobenchError for a block that the model does not have."""
        within("exhaustive_sweep.blocks", self.blocks, blocks)

    def select(self, context: SelectionContext) -> Scope:
        """The best block. ZobenchError where training diverged on every one."""
        indices = sorted(set(self.blocks)) or [block.index for block in context.blocks]
        scopes = {index: context.layers(index) for index in indices}
        tried: dict[int, ProbeResult] = {}
        for index, scope in scopes.items():
            tried[index] = context.probe(scope, self.steps, self.lr, metric=self.by == "dev_metric")
            context.note(by=self.by, steps=self.steps, probes=[_fact(i, result) for i, result in tried.items()])
        best = self._best(context, scopes, tried)
        context.note(chosen=best, probes=[_fact(i, result) for i, result in tried.items()])
        return scopes[best]

    def expected_forwards(self, blocks: int, step: int, dev: int) -> int:
        """Training and one dev loss for each block; metrics, where they decide, come on top."""
        return (len(set(self.blocks)) or blocks) * (self.steps * step + dev)

    def _best(self, context: SelectionContext, scopes: dict[int, Scope], tried: dict[int, ProbeResult]) -> int:
        sane = {index: result for index, result in tried.items() if math.isfinite(result.dev_loss)}
        if not sane:
            raise ZobenchError(f"exhaustive_sweep: all {len(tried)} blocks diverged; set a lower exhaustive_sweep.lr")
        if self.by == "dev_loss":
            lowest = min(result.dev_loss for result in sane.values())
            sane = {index: result for index, result in sane.items() if result.dev_loss == lowest}
            if len(sane) == 1:
                return next(iter(sane))
            for index in sane:  # the metric costs forwards: only for those that it must tell apart
                tried[index] = sane[index] = context.probe(scopes[index], self.steps, self.lr, metric=True)
        return min(sane, key=lambda index: (-_metric(sane[index]), sane[index].dev_loss, index))


def _metric(result: ProbeResult) -> float:
    if result.dev_metric is None:
        raise TypeError("context.probe(metric=True) gave no metric")
    return result.dev_metric


def _fact(index: int, result: ProbeResult) -> dict[str, Any]:
    """A probe as the record keeps it; JSON knows no infinity, so a diverged one has no loss."""
    return {
        "block": index,
        "dev_loss": result.dev_loss if math.isfinite(result.dev_loss) else None,
        "dev_metric": result.dev_metric,
        "stderr": result.stderr,
        "n": result.n,
        "forwards": result.forwards,
    }
