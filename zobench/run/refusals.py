"""Cells that their configuration refutes: refused at planning, before anything runs or is written.

What is looked at: settings, task files, the sizes of the data, names and number of the model's parts. What shows only
when the model is run, or an item is read, is a cell's own failure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ..contracts.planned import Planned
from ..errors import ZobenchError
from ..models.text import text_config
from ..plugins import transforms
from ..plugins.discovery import describe_fault
from ..protocol.protocol import asked
from ..report.record import NO_SELECTOR
from ..tasks.sampling import Splits, split
from . import graphs
from .scope_names import chosen, selected

if TYPE_CHECKING:
    from ..estimator.estimator import Estimator
    from ..protocol.cell import Cell
    from .session import Session

T = TypeVar("T")


def runnable(planned: Sequence[Cell], session: Session, *, spare: Callable[[Cell], bool]) -> list[Cell]:
    """The cells that can run, in their order.

    spare: whether a cell came of an `all`, which means all that can run: where it cannot it is left out, and a warning
    says so. Raises ZobenchError for the first other one that cannot, and where none is left.
    """
    judge, left_out = _Judge(session), dict[str, int]()
    out: list[Cell] = []
    for cell in planned:
        try:
            judge(cell)
        except ZobenchError as e:
            if not spare(cell):
                raise
            left_out[str(e)] = left_out.get(str(e), 0) + 1
        else:
            out.append(cell)
    if not out and left_out:
        raise ZobenchError(next(iter(left_out)))
    for why, count in left_out.items():
        session.plugins.warn(f"left out of `all`, {count} cell{'s' if count > 1 else ''}: {why}")
    return out


class _Judge:
    """Raises ZobenchError for a cell that cannot run. Each question is asked once, however many cells share it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._known: dict[tuple[str, ...], Any] = {}

    def __call__(self, cell: Cell) -> None:
        task, rules = self.session.task(cell.task), cell.protocol
        cls = self.session.plugins.estimator(cell.estimator)
        sizes = self._once(lambda: self._splits(cell), "sizes", cell.task)
        rules.check(task)
        rules.check_room(task, self.session.loaded.context_length)
        if rules.transform:
            self._once(lambda: self._check_transform(rules.transform), "transform", rules.transform)
        scored = _guarded(
            f"estimator {cell.estimator}: its `scored_by`", lambda: asked(rules, cls.scored_by, cell.estimator_settings)
        )
        scored.check(task)
        there = len(sizes.train) if scored.demonstration_sets == "fixed" else len(sizes.pool) - 1
        if scored.demonstrations > there:
            raise ZobenchError(
                f"task {cell.task}: demonstrations={scored.demonstrations}, but there are {there} items to show"
            )
        if cell.selector != NO_SELECTOR:
            self._once(lambda: self._check_selector(cell), "selector", *selected(cell))
        settings = json.dumps(cell.key()["estimator_settings"], sort_keys=True)
        on = () if not cls.trains or _kind(cell, cls) == "full" else selected(cell)
        judged = ("estimator", cell.task, cell.estimator, settings, *on)
        self._once(lambda: self._check_estimator(cell, cls, sizes), *judged)
        if cls.trains:
            how = json.dumps(cell.computation.record(), sort_keys=True, default=str)
            self._once(lambda: self._check_computation(cell, cls), "computed", cell.estimator, settings, how)

    def _once(self, ask: Callable[[], T], *key: str) -> T:
        """What `ask` gives, or raises, for this key."""
        if key not in self._known:
            try:
                self._known[key] = ask()
            except ZobenchError as e:
                self._known[key] = e
        if isinstance(self._known[key], ZobenchError):
            raise self._known[key]
        return self._known[key]  # type: ignore[no-any-return]

    def _splits(self, cell: Cell) -> Splits:
        rules, task = cell.protocol, self.session.task(cell.task)
        num_dev = task.num_dev if rules.num_dev is None else rules.num_dev
        pools = self.session.data(cell.task)
        return split(pools, num_train=rules.num_train, num_dev=num_dev, num_test=rules.num_test, seed=rules.data_seed)

    def _check_selector(self, cell: Cell) -> None:
        try:
            blocks = len(self.session.loaded.blocks)
        except ZobenchError:
            return  # a selector that wants blocks says so itself
        selector = self.session.plugins.selector(cell.selector)(**cell.selector_settings)
        _guarded(f"selector {cell.selector}: its `check`", lambda: selector.check(blocks))

    def _check_transform(self, said: str) -> None:
        """ZobenchError for blocks and channels that the model does not have."""
        loaded, plugins = self.session.loaded, self.session.plugins
        channels, made = int(text_config(loaded.model).hidden_size), transforms.made_of(said, plugins)
        named = [int(settings["block"]) for _, settings in transforms.automatic(said, plugins) if "block" in settings]
        for block in [*(change.at for change in made), *named]:
            if block >= len(loaded.blocks):
                raise ZobenchError(
                    f"transform={said}: there is no block {block}; {loaded.name} has {len(loaded.blocks)}"
                )
        for change in made:
            name = type(change).__name__
            _guarded(f"transform {name}: its `check`", partial(change.check, len(loaded.blocks), channels))

    def _check_estimator(self, cell: Cell, cls: type[Estimator], sizes: Splits) -> None:
        kind = _kind(cell, cls)
        names = self._names(cell, cls, kind) if cls.trains else None
        planned = Planned(
            task=cell.task,
            kind=self.session.task(cell.task).kind,
            loss=cell.protocol.loss_of(self.session.task(cell.task)),
            train=len(sizes.train),
            batch_size=cell.protocol.batch_size,
            weight_decay=cell.protocol.weight_decay,
            parameterisation=kind,
            names=names,
            linear=self._linear(kind, names),
        )
        _guarded(f"estimator {cell.estimator}: its `check`", lambda: cls.check(cell.estimator_settings, planned))

    def _check_computation(self, cell: Cell, cls: type[Estimator]) -> None:
        """ZobenchError where the estimator cannot be computed with this noise, engine, restore and precision."""
        from ..engine.base import drawn_room
        from .rehearsal import check

        loaded = self.session.loaded
        graphs.check(cell.computation, [loaded.device], ranks=self.session.ranks is not None)
        drawn = loaded.weights_bytes <= drawn_room(loaded.device)
        check(cell.estimator, cls, cell.estimator_settings, cell.computation, kind=_kind(cell, cls), drawn=drawn)

    def _linear(self, kind: str, names: tuple[str, ...] | None) -> frozenset[str]:
        """Which of these are weights of linear layers."""
        from torch import nn

        if kind == "lora":
            return frozenset(names or ())
        every = self.session.loaded.model.named_modules()
        layers = frozenset(f"{n}.weight" for n, m in every if isinstance(m, nn.Linear))
        return layers.intersection(names or ()) if kind == "full" else frozenset()

    def _names(self, cell: Cell, cls: type[Estimator], kind: str) -> tuple[str, ...] | None:
        """What could move, as it is called when trained so. ZobenchError where there is nothing to train so."""
        model = self.session.loaded.model
        if kind == "full":
            return tuple(name for name, _ in model.named_parameters())
        scope = self._once(lambda: chosen(cell, self.session.loaded, self.session.plugins), "scope", *selected(cell))
        if kind == "lora":
            from ..parameterisations.lora import LoRA, adapters
            from ..settings import settings_of

            own = cell.estimator_settings if cls.parameterisation == "lora" else {}
            return adapters(model, {k: v for k, v in own.items() if k in settings_of(LoRA)}, scope)
        if kind == "prefix":
            from ..parameterisations.prefix import prefixes

            return prefixes(model, scope)
        if kind == "prompt":
            from ..parameterisations.prompt import prompts

            return prompts(model, scope)
        if kind == "scales":
            from ..parameterisations.scales import scales

            return scales(model, scope)
        return None


def _kind(cell: Cell, cls: type[Estimator]) -> str:
    """The parameterisation that holds."""
    asked_for = cell.computation.parameterisation
    return cls.parameterisation if asked_for == "estimator" else asked_for


def _guarded(what: str, ask: Callable[[], T]) -> T:
    """What a plugin's code gives. What it raises other than ZobenchError is its fault, and said so."""
    try:
        return ask()
    except ZobenchError:
        raise
    except Exception as e:
        raise ZobenchError(f"{what} raised {describe_fault(e)}") from e
