"""Seeds of two roles: tuning seeds try the grid and choose each learning rate; the seeds that are reported run the one.

A seed that chose the rate it is reported at flatters it. Rates are chosen by estimator, selector and task: of those
that no tuning seed failed at, the one with the lowest dev loss, in the mean over tuning seeds. Light: no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, TypeAlias

from ..errors import ZobenchError
from ..protocol.cell import Cell
from .cells import Identity, cells
from .routing import Routed
from .wish import Wish

if TYPE_CHECKING:
    from ..plugins.registry import Plugins
    from ..report.record import Record, RoleInfo

Names: TypeAlias = tuple[str, str, str]
"""Estimator, selector, task."""


@dataclass(frozen=True)
class Rate:
    """A learning rate, and the records of the tuning seeds that chose it; none if there was only one rate to try."""

    lr: float
    chosen_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Later:
    """The cells of reported seeds, which are known when the tuning cells are done."""

    wish: Wish
    routed: Routed
    identity: Identity
    tuning: tuple[Cell, ...]
    able: frozenset[Names] | None = None
    """What can run; None: all."""

    def only(self, able: Iterable[Cell]) -> Later:
        """The same, but for methods and tasks that are not among these cells."""
        return replace(self, able=frozenset((cell.estimator, cell.selector, cell.task) for cell in able))

    def expected(self, plugins: Plugins) -> list[Cell]:
        """The cells as far as known before tuning, each at the first rate of its grid: for estimates of cost."""
        made = cells(replace(self.wish, tune_seeds=()), self.routed, plugins, self.identity, tuned_for=True)
        return [replace(cell, lrs=cell.lrs[:1]) for cell in made if self._is_able(cell)]

    def _is_able(self, cell: Cell) -> bool:
        return self.able is None or (cell.estimator, cell.selector, cell.task) in self.able

    def cells(self, records: Mapping[str, Record], plugins: Plugins) -> tuple[list[Cell], list[str]]:
        """The cells at the rates that these records choose, and a line for each method and task for which every rate
        failed.
        """
        tuning = [cell for cell in self.tuning if self._is_able(cell)]
        found = {names: chosen(of, records) for names, of in _by_names(tuning).items()}
        rates = {names: rate for names, rate in found.items() if rate is not None}
        lost = [
            f"{estimator}/{selector} on {task}: every learning rate failed on a tuning seed; not run on the others"
            for (estimator, selector, task), rate in found.items()
            if rate is None
        ]
        out = []
        for cell in cells(replace(self.wish, tune_seeds=()), self.routed, plugins, self.identity, tuned_for=True):
            names = (cell.estimator, cell.selector, cell.task)
            role: RoleInfo = {"seed": "report"}
            if not self._is_able(cell):
                continue
            if names in found:
                if (rate := rates.get(names)) is None:
                    continue
                cell = replace(cell, lrs=(rate.lr,))
                role |= {"tuned_on": list(self.wish.tune_seeds), "rate_from": list(rate.chosen_by)}
            out.append(replace(cell, role=_with_splits(role, self.wish)))
        return out, lost


def first(wish: Wish, routed: Routed, plugins: Plugins, identity: Identity) -> tuple[list[Cell], Later | None]:
    """The cells that can run at once, and what comes when they are done: of tuning seeds, where there are some.

    Raises ZobenchError for a seed with both roles, and for a split that is given twice.
    """
    if wish.split_seeds and "data_seed" in wish.settings:
        raise ZobenchError("data_seed is given twice: by --split-seeds and by --set data_seed")
    both = sorted(set(wish.seeds) & set(wish.tune_seeds))
    if both:
        raise ZobenchError(
            f"seed {both[0]} is both in --tune-seeds and in --seeds: what chose a learning rate is not reported"
        )
    if not wish.tune_seeds:
        made = cells(wish, routed, plugins, identity)
        if not wish.split_seeds:
            return made, None
        return [replace(cell, role=_with_splits({"seed": "report"}, wish)) for cell in made], None
    # On one split: rates are a matter of the method, and the test items of no split had a say in them.
    tuning = replace(wish, seeds=wish.tune_seeds, split_seeds=wish.split_seeds[:1])
    role: RoleInfo = {"seed": "tune"}
    every = cells(tuning, routed, plugins, identity, tuned_for=True)
    made = [replace(cell, role=_with_splits(role, wish)) for cell in every if len(cell.lrs) > 1]
    return made, Later(wish, routed, identity, tuple(made))


def chosen(tuning: Iterable[Cell], records: Mapping[str, Record]) -> Rate | None:
    """The learning rate that the records of these cells choose; None if every rate failed for some seed."""
    losses: dict[float, list[float]] = {}
    ids = [cell.id for cell in tuning]
    for name in ids:
        for trial in records[name]["trials"] if name in records else ():
            failed = trial["status"] != "ok" or trial["dev_loss"] is None
            losses.setdefault(trial["lr"], []).append(math.inf if failed else trial["dev_loss"] or 0.0)
    whole = {lr: fmean(of) for lr, of in losses.items() if len(of) == len(ids)}
    best = min(whole, key=lambda lr: (whole[lr], lr), default=None)
    return None if best is None or math.isinf(whole[best]) else Rate(best, tuple(ids))


def check_roles(planned: Iterable[Cell], known: Mapping[str, Record]) -> None:
    """ZobenchError where a cell that is planned has a record in which its seed had the other role."""
    for cell in planned:
        record = known.get(cell.id)
        if record is None:
            continue
        ours = "report" if cell.role is None else cell.role["seed"]
        theirs = record.get("role", {"seed": "report"})["seed"]
        if ours != theirs:
            was, now = ("reported", "choose rates") if ours == "tune" else ("used to choose rates", "be reported")
            raise ZobenchError(f"{cell.id}: seed {cell.seed} was {was} in this folder and cannot {now}: name another")


def _by_names(tuning: Iterable[Cell]) -> dict[Names, list[Cell]]:
    out: dict[Names, list[Cell]] = {}
    for cell in tuning:
        out.setdefault((cell.estimator, cell.selector, cell.task), []).append(cell)
    return out


def _with_splits(role: RoleInfo, wish: Wish) -> RoleInfo:
    return {**role, "splits": list(wish.split_seeds)} if wish.split_seeds else role
