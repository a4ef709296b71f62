"""What is compared: an engine on a scope, over rows as MeZO has them or over packed ones."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ..engine import AUTO, ENGINES, engine_class
from ..engine.objective import Objective
from ..errors import ZobenchError, unknown
from ..protocol.protocol import Computation
from ..run.method import Method, applied
from ..run.prefix import prefix_cache
from ..run.selection import everything
from ..run.speed import STILL
from ..scopes.scope import Scope
from ..tasks.batch import Batch
from ..tasks.entering import entering
from ..tasks.replayable import replayable

if TYPE_CHECKING:
    from ..estimator.estimator import Estimator
    from ..models.graphs import Graphs
    from ..models.load import LoadedModel
    from ..tasks.prefix import PrefixCache
    from .further import Further
    from .work import Work

ScopeName = str
"""`full`, `layer`, or a further row's `ESTIMATOR/SELECTOR`."""


@dataclass(frozen=True)
class Side:
    """One engine on one scope, to be timed.

    ours: whether forward passes are those of this harness: packed rows, logits at answer positions and, on its engines,
    the prefix cache.
    """

    engine: str
    scope: ScopeName
    ours: bool
    graphs: bool = False
    """Losses are replayed as CUDA graphs, of rows padded to few shapes."""

    @property
    def name(self) -> str:
        """As tables have it."""
        rows = "" if self.ours == (self.engine != "official") else ", our forward"
        return f"{self.engine} {self.scope}{rows}{', graphs' if self.graphs else ''}"


OFFICIAL_FULL = Side("official", "full", False)
OFFICIAL_LAYER = Side("official", "layer", False)
OFFICIAL_LAYER_OURS = Side("official", "layer", True)
BASELINES = (OFFICIAL_FULL, OFFICIAL_LAYER, OFFICIAL_LAYER_OURS)


def sides(
    engines: Sequence[str], scopes: Sequence[ScopeName], further: Sequence[str] = (), *, graphs: bool = False
) -> list[Side]:
    """The baselines and every engine on every scope, each once; further rows in the official order and on engines.

    graphs: engines that can on `scopes` with CUDA graphs too.
    """
    ways = (False, True) if graphs else (False,)
    ours = [Side(engine, scope, True, way) for scope in scopes for engine in engines for way in ways]
    wanted = [*BASELINES, *(side for side in ours if not side.graphs or _captures(side.engine))]
    for name in further:
        wanted += [Side("official", name, False), *(Side(engine, name, True) for engine in engines)]
    scopes = [*scopes, *further]
    return list(dict.fromkeys(side for side in wanted if side.scope in scopes or side is OFFICIAL_FULL))


def _captures(engine: str) -> bool:
    return engine == AUTO or engine_class(engine).captures


def check_engines(engines: Sequence[str]) -> None:
    """ZobenchError unless each is an engine to compare with official, or auto."""
    known = ["auto", *(name for name in ENGINES if name != "official")]
    for name in engines:
        if name not in known:
            raise ZobenchError(unknown("engine to compare with official", name, known))


class Moved(NamedTuple):
    """The estimator of a side, with its settings."""

    estimator: type[Estimator]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Timing:
    """Whose steps are timed on `full` and `layer`, which block `layer` is, and what the further rows are."""

    loaded: LoadedModel
    estimator: type[Estimator]
    layer: int
    wish: Computation
    further: Mapping[str, Further] = field(default_factory=dict)

    def scope(self, side: Side) -> Scope:
        """The weights that move."""
        if side.scope in self.further:
            return self.further[side.scope].scope
        return scope_of(side, self.loaded, self.layer)

    def method(self, side: Side) -> Moved:
        """What moves them."""
        row = self.further.get(side.scope)
        return Moved(self.estimator, {}) if row is None else Moved(row.estimator, row.settings)


def filled_cache(side: Side, work: Work, timing: Timing) -> tuple[PrefixCache | None, float]:
    """The prefix cache of this side with all batches in it, checked, and the seconds that it took to fill.

    None for the official order, which has none, and where there is nothing below the scope.
    """
    if not side.ours or side.engine == "official":
        return None, 0.0
    loaded = timing.loaded
    cache = prefix_cache(loaded, timing.scope(side))
    if cache is None:
        return None, 0.0
    loss, start = cache.above(work.ours), time.perf_counter()
    with torch.no_grad():
        for batch in (*work.batches, work.batches[0]):  # the last one is the check of what was kept
            float(loss(loaded.model, batch))
    return cache, time.perf_counter() - start


def scope_of(side: Side, loaded: LoadedModel, layer: int) -> Scope:
    """The weights that move."""
    if side.scope == "full":
        return everything(loaded)
    names = set(loaded.blocks[layer].parameter_names())
    return Scope([(n, p) for n, p in loaded.model.named_parameters() if n in names], layers=(layer,))


@contextmanager
def standing(side: Side, timing: Timing) -> Iterator[tuple[Estimator, str]]:
    """The estimator of this side on the model, with a learning rate that moves nothing, and the engine that it uses.

    The wish is of all engines but official. Weights are restored up to the rounding of the engine, which does not
    change speed.
    """
    wish = timing.wish
    if side.engine == "official":
        wish = replace(
            wish, noise="official", restore="arithmetic", rows="replicated", compile="off", cuda_graphs="off"
        )
    estimator, settings = timing.method(side)
    method = Method(estimator, dict(settings), replace(wish, engine=side.engine))
    with applied(method, timing.loaded, timing.scope(side), lr=STILL, seed=0, keep=lambda p: p) as on:
        on.estimator.timers.on, on.estimator.timers.clock = True, time.process_time
        yield on.estimator, on.info["engine"]


def objective(
    side: Side,
    work: Work,
    loaded: LoadedModel,
    batch: Batch,
    cache: PrefixCache | None = None,
    graphs: Graphs | None = None,
) -> Objective:
    """What a step of this side looks at; what enters the lowest block that moves is taken from `cache`, losses from
    `graphs` where they are given.
    """
    shown = partial(entering, loaded.model, work.loss_name)
    if side.ours:
        loss = work.ours if cache is None else cache.above(work.ours)
        made = None if graphs is None else partial(replayable, graphs, cache, work.ours)
        return Objective(loaded.model, loss, batch, batched=work.batched, entering=shown, replayable=made)
    return Objective(loaded.model, work.official, batch.replicated(), batched=False, entering=shown)
