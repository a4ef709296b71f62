"""Work of losses and scores that several processes share, each its part of the forwards. Light."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Spread(Protocol):
    """The processes (zobench.run.ranks.Ranks)."""

    rank: int
    size: int

    def gather(self, of: str, mine: Any) -> list[Any]:
        """What each process has, in their order, on all of them; `of` says what, and must be the same on all."""


def own_share(parts: int, spread: Spread | None) -> Iterable[int]:
    """Of so many parts those of this process: all, or one in `size`."""
    return range(parts) if spread is None else range(spread.rank, parts, spread.size)


def gathered(of: str, mine: Mapping[int, T], forwards: int, spread: Spread | None) -> tuple[dict[int, T], int]:
    """The results of all parts by number, and the forward passes that all processes made for them."""
    if spread is None:
        return dict(mine), forwards
    every = spread.gather(of, (dict(mine), forwards))
    return {i: value for part, _ in every for i, value in part.items()}, sum(made for _, made in every)
