"""Further rows of a bench: any estimator on any selector's scope, chosen on the batches that are timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ZobenchError
from ..run.model_context import ModelContext
from ..run.routing import fault_of, route
from ..run.wish import Wish
from ..scopes.scope import Scope

if TYPE_CHECKING:
    from ..estimator.estimator import Estimator
    from ..models.load import LoadedModel
    from ..plugins.registry import Plugins
    from .work import Work


@dataclass(frozen=True)
class Further:
    """An estimator with its settings, and the weights that it moves."""

    estimator: type[Estimator]
    settings: Mapping[str, Any]
    scope: Scope


def further(
    names: Sequence[str], given: Mapping[str, str], plugins: Plugins, loaded: LoadedModel, work: Work
) -> dict[str, Further]:
    """By the name `ESTIMATOR/SELECTOR` what is timed. given: settings, as `--set` takes them, for whoever has them.

    Raises ZobenchError for a name of another form, what nobody registered, settings that nobody has, and selectors that
    cannot choose on a model alone.
    """
    out: dict[str, Further] = {}
    wishes = {}
    for name in names:
        estimator, slash, selector = name.partition("/")
        if not slash or not selector:
            raise ZobenchError(f"--also {name}: write ESTIMATOR/SELECTOR")
        wishes[name] = Wish((estimator,), (selector,), (work.task,))
    for key in given:
        faults = [fault_of(key, wish, plugins) for wish in wishes.values()]
        if not faults or all(fault is not None for fault in faults):
            raise next(iter(faults), None) or ZobenchError(
                f"--set {key}: settings are those of --also, which is not given"
            )
    for name, wish in wishes.items():
        mine = {key: value for key, value in given.items() if fault_of(key, wish, plugins) is None}
        routed = route(Wish(wish.estimators, wish.selectors, wish.tasks, settings=mine), plugins)
        (estimator,), (selector,) = wish.estimators, wish.selectors
        cls = plugins.estimator(estimator)
        if not cls.trains:
            raise ZobenchError(f"--also {name}: {estimator} is a reference that makes no steps of its own")
        chooses = plugins.selector(selector)(**routed.selectors[selector])
        chooses.check(len(loaded.blocks))
        scope = chooses.select(ModelContext(loaded, work.batches, work.ours))
        out[name] = Further(cls, routed.estimators[estimator], scope)
    return out
