"""A quarter of the decoder blocks at every step, the important ones more often: IST."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any, ClassVar

from torch import Tensor, nn

from zobench import Batch, Count, Fraction, Positive, Range, Scope, SelectionContext, Selector, ZobenchError

from .turns import by_turns, draw


class IST(Selector):
    """Blocks drawn in proportion to an importance learnt from losses alone, by suppressing some and comparing.

    Yao et al. 2024 (arXiv:2410.11772), importance-aware sparse tuning. Importance I = 0 at first, p = sigmoid(I). An
    update draws `candidates` different sets of blocks, each block likelier the lower its I; suppresses the response
    of each set, takes the loss of one batch, r = exp(-loss), and I_i <- I_i - mu (r - mean r) p_i (1 - p_i) for the
    blocks of that set: blocks that are missed rise. In training, every step draws `share` of the blocks by p.

    Response suppression scales adapters there. Adapters that have not been trained have no response, and a scope is a
    pure function of the step; so here all updates come before training, and what is scaled is the block's own
    contribution to the stream, h + s f(h). That is zobench's adaptation, and may rank blocks otherwise.

    Defaults: the released ones: a quarter of the blocks, half of them suppressed to 0.25, 3 candidates, mu 10, batches
    of 16; 100 updates, what 1,000 steps make there. Embeddings, head and final norm do not move: IST trains the
    adapters of blocks alone.
    Forwards: updates * candidates.
    Public code: antgroup/importance-aware-sparse-tuning-IST-paper, ist.py. Its score is the reverse, higher for what
    is missed less, under names that say the opposite; it redraws until candidates differ, for ever where there are
    fewer sets than candidates (here: as many as there are).
    Not verified: the adaptation was not compared with anything.
    """

    turns: ClassVar[bool] = True
    reference: ClassVar[str] = "IST: Yao et al. 2024, arXiv:2410.11772"
    public_code: ClassVar[str] = (
        "antgroup/importance-aware-sparse-tuning-IST-paper (no licence seen): scores are reversed; may redraw for ever"
    )
    verified: ClassVar[bool | None] = False
    exercise: ClassVar = {"updates": 3, "batch_size": 4}
    presets: ClassVar = {"smoke": {"updates": 3}, "small": {"updates": 10}}

    share: Annotated[float, Range(gt=0, le=1)] = 0.25
    """Of the blocks, how many move in a step; at least one."""
    suppressed: Annotated[float, Range(gt=0, lt=1)] = 0.5
    """Of the blocks, how many an update suppresses together; at least one."""
    factor: Fraction = 0.25
    """What is left of a suppressed block's contribution."""
    candidates: Count = 3
    """Sets of blocks that an update compares."""
    updates: Count = 100
    """Updates of the importance, one training batch each."""
    mu: Positive = 10.0
    """The step size of the importance."""
    batch_size: Count = 16
    """Training examples in each batch."""

    def check(self, blocks: int) -> None:
        """ZobenchError for a model of one block."""
        if blocks < 2:
            raise ZobenchError("ist: the model has one decoder block; there is nothing to choose among")

    def select(self, context: SelectionContext) -> Scope:
        """The schedule. ZobenchError for a model of one block, and for a loss that is not finite."""
        n = len(context.blocks)
        if n < 2:
            raise ZobenchError(f"ist: {context.loaded.name} has one decoder block; there is nothing to choose among")
        importance = [0.0] * n
        for update, batch in enumerate(context.calibration(self.updates, self.batch_size)):
            sets = self._sets(importance, context.seed, update)
            rewards = [math.exp(-self._loss(context, batch, chosen)) for chosen in sets]
            mean = math.fsum(rewards) / len(rewards)
            likely = [sigmoid(x) for x in importance]
            for chosen, reward in zip(sets, rewards, strict=True):
                for i in chosen:
                    importance[i] -= self.mu * (reward - mean) * likely[i] * (1 - likely[i])
        weights = [sigmoid(x) for x in importance]
        context.note(importance=importance, updates=self.updates, candidates=self._candidates(n))
        k = max(1, int(n * self.share))
        return by_turns(context, lambda turn: draw(weights, k, context.seed, turn), every=1, rest=False)

    def expected_forwards(self, blocks: int, step: int, dev: int) -> int:
        """One a candidate of each update."""
        return self.updates * self._candidates(blocks) if blocks > 1 else 0

    def _candidates(self, n: int) -> int:
        return min(self.candidates, math.comb(n, self._together(n)))

    def _together(self, n: int) -> int:
        """How many blocks are suppressed together."""
        return max(1, int(n * self.suppressed))

    def _sets(self, importance: Sequence[float], seed: int, update: int) -> list[list[int]]:
        """Different sets of blocks, each block likelier the less important it is."""
        weights, sets, tries = [sigmoid(-x) for x in importance], list[list[int]](), 0
        while len(sets) < self._candidates(len(weights)):
            chosen = draw(weights, self._together(len(weights)), seed, -1 - update * 10**6 - tries)
            tries += 1  # turns below 0: no draw of the schedule's
            if chosen not in sets:
                sets.append(chosen)
        return sets

    def _loss(self, context: SelectionContext, batch: Batch, chosen: Sequence[int]) -> float:
        with suppressed([context.blocks[i].module for i in chosen], self.factor):
            loss = float(context.loss(batch))
        if not math.isfinite(loss):
            raise ZobenchError(f"ist: the loss is not finite with blocks {list(chosen)} suppressed; raise ist.factor")
        return loss


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), without overflow."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


@contextmanager
def suppressed(blocks: Sequence[nn.Module], factor: float) -> Iterator[None]:
    """While it lasts, these blocks put out h + factor (out - h), h the stream that enters them."""
    with ExitStack() as hooks:
        for block in blocks:
            hooks.callback(block.register_forward_hook(_scaled(factor), with_kwargs=True).remove)
        yield


def _scaled(factor: float) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], Any]:
    def hook(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> Any:
        h: Tensor = inputs[0] if inputs else named["hidden_states"]
        if isinstance(output, tuple):
            return (h + factor * (output[0] - h), *output[1:])
        return h + factor * (output - h)

    return hook
