"""The cells of a run: the product of what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from ..plugins import along, transforms
from ..protocol.cell import Cell, raised
from ..report.record import NO_SELECTOR
from .rates import checked_rates, tuned
from .routing import preset_of

if TYPE_CHECKING:
    from ..plugins.registry import Plugins
    from .routing import Routed
    from .wish import Wish


@dataclass(frozen=True)
class Identity:
    """What the cells' identity needs of the model and the data: revisions, as they were resolved."""

    model: str
    model_revision: str | None
    data: str
    task_versions: Mapping[str, int]
    data_revisions: Mapping[str, str | None]
    model_plugin: str | None = None  # the name that a plugin offers the model under
    own_data: Mapping[str, str] = field(default_factory=dict)  # of tasks whose data come from elsewhere than `data`
    train_sizes: Mapping[str, int] = field(default_factory=dict)  # where steps are counted in epochs


def cells(wish: Wish, routed: Routed, plugins: Plugins, identity: Identity, *, tuned_for: bool = False) -> list[Cell]:
    """The product of the flags, task by task, so that each is encoded once; what trains nothing stands once a split.
    Those of another dtype than most come last, so that the model is loaded once in each.

    `tuned_for`: rates are chosen on seeds of their own, so grids are whole, whatever a committed run chose.
    """
    out: dict[str, Cell] = {}
    splits = wish.split_seeds or (routed.protocol.data_seed,)
    rates = partial(grid, wish, routed, plugins, known=not tuned_for)
    for task, split, estimator, selector, seed in product(
        wish.tasks, splits, wish.estimators, wish.selectors, wish.seeds
    ):
        cls = plugins.estimator(estimator)
        gradients = routed.first_order if along.descends_gradients(cls) else None
        rules = gradients.over(identity.train_sizes.get(task, 0)) if gradients else routed.protocol
        cell = Cell(
            model=identity.model,
            model_revision=identity.model_revision,
            task=task,
            task_version=identity.task_versions[task],
            data=identity.own_data.get(task, identity.data),
            data_revision=identity.data_revisions[task],
            estimator=estimator,
            selector=selector if cls.trains else NO_SELECTOR,
            seed=seed if cls.trains else wish.seeds[0],
            lrs=rates(cls, (estimator, selector, task)) if cls.trains else (),
            protocol=replace(rules, data_seed=split),
            computation=gradients.computation if gradients else routed.computation,
            estimator_settings=routed.estimators[estimator],
            selector_settings=routed.selectors[selector] if cls.trains else {},
            code=plugins.code(
                _used(plugins, identity, task, estimator, selector if cls.trains else None, routed.protocol.transform)
            ),
            raised=raised(cls, routed.estimators[estimator])
            + (raised(plugins.selector(selector), routed.selectors[selector]) if cls.trains else 0),
        )
        out.setdefault(cell.id, cell)
    return sorted(out.values(), key=lambda cell: cell.computation.dtype != routed.computation.dtype)


def _used(
    plugins: Plugins, identity: Identity, task: str, estimator: str, selector: str | None, transform: str
) -> list[tuple[str, str]]:
    """What a cell uses that a plugin may have brought, as (kind, name)."""
    named = {"models": identity.model_plugin, "tasks": task, "estimators": estimator, "selectors": selector}
    data = identity.own_data.get(task, identity.data)
    named["data_sources"] = data if data in plugins.names("data_sources") else None
    changes = [("transforms", name) for name in transforms.names(transform)]
    return [*((kind, name) for kind, name in named.items() if name is not None), *changes]


def grid(
    wish: Wish, routed: Routed, plugins: Plugins, cls: Any, names: tuple[str, str, str], *, known: bool = True
) -> tuple[float, ...]:
    """The learning rates a cell tries: the user's, else those of the preset.

    That is the rate that dev chose in earlier runs for this estimator, selector and task (`names`), where a plugin has
    one for the preset (unless not `known`). Else the estimator's own: of its paper, or for small runs.
    """
    if routed.lrs:
        return checked_rates(routed.lrs)
    tried = tuned(plugins, wish.preset, *names) if known and wish.preset else ()
    return checked_rates(tried or (cls.lr_grid if preset_of(wish, plugins).grid == "paper" else cls.small_lrs))
