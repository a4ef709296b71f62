"""What moves around the dominant block: parts of it, and sums of it with other blocks, held against it alone.

The questions of tables 5 and 6 of Dominant-Layer ZO, of any records: rows are told by what their cells moved, so that
selectors of plugins are held like the built-in ones. Light: no torch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from ..errors import ZobenchError
from . import stats, text
from .known import KnownNames
from .rows import MethodRow, Section
from .stats import Draw, Effect

What = Literal["parts", "sums"]
"""Parts of the dominant block, or sums of whole blocks that it is one of."""

Place = tuple[str, Draw]
"""The task and the draw of a cell."""


MEND = "--tasks TASKS runs what is missing"
OTHER = "zobench run --selector A+B takes the sum with another"


@dataclass(frozen=True)
class Around:
    """The rows of one estimator around its dominant block, and that block's row, which they are held against."""

    what: What
    method: str
    block: MethodRow
    rows: tuple[MethodRow, ...]
    full: MethodRow | None
    """All weights, where they were run."""

    @property
    def shown(self) -> tuple[MethodRow, ...]:
        """All rows, the block's first."""
        return (self.block, *self.rows, *(() if self.full is None else (self.full,)))

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """Those that the block finished, in the order of their names."""
        return tuple(sorted(task for task, entry in self.block.entries.items() if entry.done))

    @cached_property
    def averaged(self) -> tuple[str, ...]:
        """The tasks that every row has without a missing seed; where there is none, those that the block has."""
        shared = tuple(task for task in self.tasks if all(row.entry(task).complete for row in self.shown))
        return shared or tuple(task for task in self.tasks if self.block.entry(task).complete)

    @cached_property
    def indices(self) -> tuple[int, ...]:
        """The blocks that are dominant: one, where all tasks and seeds agree."""
        return tuple(sorted({n for layers in _moved(self.block).values() for n in layers[0]}))

    def parameters(self, row: MethodRow) -> float | None:
        """How many parameters its cells moved, on average; None where none began."""
        found = [size for _, size in _moved(row).values()]
        return stats.mean(found) if found else None

    def against(self, row: MethodRow) -> Effect | None:
        """The paired difference to the block alone on the average of the tasks."""
        return row.minus(self.block, self.averaged) if self.averaged else None

    def share(self, row: MethodRow) -> tuple[float, float, float] | None:
        """Of the block's gain over the untouched model the share that the row has, with its interval.

        None where the block's gain is not told apart from none, and where items cannot be paired.
        """
        bottom = self.block.gain(self.averaged)
        if bottom is None or self._beyond(row, 0.0) is None:
            return None

        def difference(r: float) -> Effect:
            found = self._beyond(row, r)
            assert found is not None  # it is there for every r or for none
            return found

        return stats.quotient(difference, bottom)

    def _beyond(self, row: MethodRow, r: float) -> Effect | None:
        found = []
        for task in self.averaged:
            own, block = row.entry(task), self.block.entry(task)
            if not (own.complete and block.complete):
                return None
            one = stats.beyond(own.items(), block.items(), block.items("zero_shot"), r, own.clusters | block.clusters)
            if one is None:
                return None
            found.append(one)
        return stats.combine(found) if found else None


def gathered(
    section: Section, known: KnownNames, what: What, block: int | None = None, *, mend: str = MEND
) -> list[Around]:
    """The rows around the dominant block, by estimator; `block` says which one that is.

    Else it is what a selector of the outlier block chose; where none was run, the one whole block that rows are around.
    ZobenchError where several could be it, and where nothing is around one: `mend` says what to do then.
    """
    by_method: dict[str, list[MethodRow]] = defaultdict(list)
    for row in section.rows:
        if row.trains and _moved(row):
            by_method[row.method].append(row)
    found = [_around(what, method, rows, known, block) for method, rows in sorted(by_method.items())]
    out = [one for one in found if one is not None]
    if not out:
        of = "a part of it" if what == "parts" else "a sum of it with another block"
        which = "the dominant block" if block is None else f"block {block}"
        same = [row.where for rows in by_method.values() for row in rows if _with_itself(row)]
        if what == "sums" and same:
            mend = f"{same[0]} is that block with itself; {OTHER}"
        raise ZobenchError(f"no estimator was run on {which} alone and on {of}: {mend}")
    return out


def _around(what: What, method: str, rows: Sequence[MethodRow], known: KnownNames, block: int | None) -> Around | None:
    whole = [row for row in rows if _whole(row, known) and all(len(at) == 1 for at, _ in _moved(row).values())]
    if block is not None:
        whole = [row for row in whole if {at for at, _ in _moved(row).values()} == {(block,)}]
    whole.sort(key=lambda row: row.selector not in known.outlier_block)  # stable: else in the board's order
    candidates = [(one, tuple(row for row in rows if _is(what, row, one, known))) for one in whole]
    candidates = [(one, around) for one, around in candidates if around]
    if not candidates:
        return None
    first, around = candidates[0]
    others = {at for one, _ in candidates for at, _ in _moved(one).values()} - {at for at, _ in _moved(first).values()}
    if block is None and first.selector not in known.outlier_block and others:
        named = text.layers([n for at in others | {at for at, _ in _moved(first).values()} for n in at])
        raise ZobenchError(f"{method}: the dominant block could be each of {named}: name it with --block")
    full = next((row for row in rows if row.selector in known.everything), None)
    order = sorted((row for row in around if row is not full), key=lambda row: text.natural(row.name))
    return Around(what, method, first, tuple(order), full)


def _whole(row: MethodRow, known: KnownNames) -> bool:
    """Whether all that it moves are whole blocks: one, or a sum."""
    names = {*known.one_block, *known.outlier_block, *known.whole_blocks}
    return all(term.partition(":")[0] in names for term in row.selector.split("+"))


def _with_itself(row: MethodRow) -> bool:
    """Whether it is a sum of selectors of one and the same block."""
    return "+" in row.selector and all(len(at) == 1 for at, _ in _moved(row).values())


def _is(what: What, row: MethodRow, block: MethodRow, known: KnownNames) -> bool:
    """Whether the row moved a part of the block, or a sum with it, in every cell that both have."""
    own, whole = _moved(row), _moved(block)
    shared = own.keys() & whole.keys()
    pairs = [(own[at], whole[at]) for at in shared]
    if what == "parts":
        return bool(pairs) and all(a == b and few < many for (a, few), (b, many) in pairs)
    return bool(pairs) and _whole(row, known) and all(set(a) > set(b) for (a, _), (b, _) in pairs)


def _moved(row: MethodRow) -> Mapping[Place, tuple[tuple[int, ...], int]]:
    """By cell the decoder blocks of its scope and its number of parameters, where it got so far."""
    return {
        (task, draw): (tuple(record["scope"]["layers"]), record["scope"]["parameters"])
        for task, entry in row.entries.items()
        for draw, record in entry.records.items()
        if record["scope"] is not None
    }


def verdicts(found: Iterable[Around], margin: float) -> dict[tuple[int, int], stats.Verdict]:
    """Whether each row is better or worse than its block, or as good: by their places, corrected over all of them."""
    compared = {
        (at, k): group.against(row) for at, group in enumerate(found) for k, row in enumerate(group.shown[1:], 1)
    }
    return stats.verdicts(compared, margin)
