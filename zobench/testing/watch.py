"""What a step looked along and moved along, noted from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..directions.algebra import Algebra, Direction
from ..engine.objective import Objective
from ..estimator.estimator import Estimator

Values = dict[str, Tensor]
"""One term of a direction, valued: tensor name -> value (tensors where it has none are absent)."""


@dataclass
class Watch:
    """Notes, from now on, the terms of every point that `opt` asks a loss at and of every move it makes.

    A direction is a sum of scalar x term; terms are noted without their scalars, in the values they have at the
    moment of the look or the move. `still=True` lets the estimator look but not move.
    """

    opt: Estimator
    still: bool = False
    looks: list[Values] = field(default_factory=list)
    moves: list[Values] = field(default_factory=list)

    def __post_init__(self) -> None:
        opt = self.opt

        def look(d: Direction) -> None:
            self.looks += self.terms(d)

        def moving(how: Any) -> Any:
            def go(d: Algebra) -> None:
                if isinstance(d, Algebra):
                    self.moves += self.terms(d)
                if not self.still:
                    how(d)

            return go

        opt._keep(looked=look, descend=moving(opt.descend), move=moving(opt.move))

    def terms(self, d: Algebra) -> list[Values]:
        """The terms of a direction as they are now, over the tensors active in this step."""
        out = []
        for node in d.lin().terms:
            alone = Direction({node: 1.0}, None)
            values = {p.name: alone.on(p) for p in self.opt.active}
            out.append({n: v.clone() for n, v in values.items() if v is not None})
        return out

    def clear(self) -> None:
        """Forget what was noted."""
        self.looks.clear()
        self.moves.clear()


class Noting(Objective):
    """An objective that notes how often a derivative was taken in forward mode, of it or of one derived from it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._taken = [0]  # one list for it and those derived from it

    @property
    def duals(self) -> int:
        """Derivatives taken so far."""
        return self._taken[0]

    def jvp(self, tangents: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        self._taken[0] += 1
        return super().jvp(tangents)
