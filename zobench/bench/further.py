"""Further rows of a bench: any estimator on any selector's scope, chosen on the batches that are timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import torch

from ..contracts.selector import ProbeResult, SelectionContext
from ..errors import ZobenchError
from ..run.plan import Wish, fault_of, route
from ..run.selection import everything
from ..scopes.scope import Scope

if TYPE_CHECKING:
    from torch import Tensor

    from ..estimator.estimator import Estimator
    from ..models.blocks import Block
    from ..models.load import LoadedModel
    from ..plugins.registry import Plugins
    from ..tasks.batch import Batch
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
            raise ZobenchError(f"--also {name}: write ESTIMATOR/SELECTOR, such as sparse_mezo/all")
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
        scope = chooses.select(BenchContext(loaded, work))
        out[name] = Further(cls, routed.estimators[estimator], scope)
    return out


class BenchContext(SelectionContext):
    """What a selector may look at where there are no runs: the model, and batches of the lengths of a task."""

    def __init__(self, loaded: LoadedModel, work: Work) -> None:
        self.loaded, self.seed, self._work = loaded, 0, work

    @property
    def blocks(self) -> Sequence[Block]:
        return self.loaded.blocks

    def calibration(self, batches: int, batch_size: int) -> list[Batch]:
        return list(islice(cycle(self._work.batches), batches))

    @torch.no_grad()
    def loss(self, batch: Batch) -> Tensor:
        return self._work.ours(self.loaded.model, batch)

    def count(self, purpose: str, forwards: int) -> None:
        pass

    def note(self, **facts: Any) -> None:
        pass

    def everything(self) -> Scope:
        return everything(self.loaded)

    def layers(self, *indices: int) -> Scope:
        n = len(self.blocks)
        for i in indices:
            if not 0 <= i < n:
                raise ZobenchError(f"{self.loaded.name} has decoder blocks 0 to {n - 1}, not {i}")
        names = {name for i in set(indices) for name in self.blocks[i].parameter_names()}
        named = [(name, p) for name, p in self.loaded.model.named_parameters() if name in names]
        return Scope(named, layers=tuple(sorted(set(indices))))

    def probe(self, scope: Scope, steps: int, lr: float | None = None, *, metric: bool = False) -> ProbeResult:
        raise ZobenchError("a bench trains nothing: --also takes selectors that choose without probes")
