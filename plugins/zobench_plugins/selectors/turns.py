"""What selectors of a schedule share: drawing blocks for a step, and the scope that follows the draws."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence

from zobench import Schedule, SelectionContext, ZobenchError

SHOWN = 5
"""Turns whose blocks a record shows."""


def draw(weights: Sequence[float], count: int, seed: int, turn: int) -> list[int]:
    """`count` different indices, drawn one after the other with probabilities proportional to the weights left; sorted.

    The distribution is that of numpy's `choice(replace=False, p=...)` and torch's `multinomial`, by exponential keys
    (Efraimidis and Spirakis 2006). A pure function of its arguments, so that replay and resume may ask again; equal
    weights give all selectors the same draw at one seed and turn. ValueError for fewer positive weights than `count`.
    """
    source = random.Random(f"decoder blocks/{seed}/{turn}")
    keys = [(-math.log(1.0 - source.random()) / w if w > 0 else math.inf, i) for i, w in enumerate(weights)]
    chosen = sorted(keys)[:count]
    if len(chosen) < count or chosen[-1][0] == math.inf:
        raise ValueError(f"{count} indices cannot be drawn of {sum(w > 0 for w in weights)} with a positive weight")
    return sorted(i for _, i in chosen)


def by_turns(context: SelectionContext, at: Callable[[int], Sequence[int]], *, every: int, rest: bool) -> Schedule:
    """The blocks of turn `step // every` in each step; with `rest`, what is in no block in every step. Notes the facts.

    rest: embeddings, head and final norm.
    """
    n = len(context.blocks)
    scope = context.everything() if rest else context.layers(*range(n))
    turns = [list(at(turn)) for turn in range(SHOWN)]
    context.note(blocks=n, blocks_a_step=len(turns[0]), every=every, rest=rest, first_turns=turns)
    return Schedule(scope, context.blocks, lambda step: at(step // every))


def within(setting: str, indices: Iterable[int], blocks: int) -> None:
    """ZobenchError, naming `setting`, for the first index that is none of so many decoder blocks."""
    for index in indices:
        if not 0 <= index < blocks:
            raise ZobenchError(f"{setting}={index}: the model has decoder blocks 0 to {blocks - 1}, not {index}")


def a_step(asked: int | None, usual: int, blocks: int, setting: str) -> int:
    """The blocks that move in a step: as asked, else as usual, or all where there are fewer.

    ZobenchError, naming `setting`, for more than there are.
    """
    if asked is None:
        return min(usual, blocks)
    if asked > blocks:
        raise ZobenchError(f"{setting}={asked}: the model has {blocks} decoder blocks; set it to at most {blocks}")
    return asked
