"""What a run will cost, before it starts: forward passes from the settings, seconds by the pace of a device.

Nothing is run for it but a few calls of blocks of the model's width (zobench.run.device_pace), once a run: a step takes
its forwards, by their tokens, and its passes over the weights of the scope.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..engine import AUTO, choose
from ..errors import ZobenchError
from ..models.load import DTYPES
from .batch_order import batches as training_order
from .cell_shapes import shapes_of
from .device_pace import DRAW, FUSED, KEPT, Pace, measured
from .memory_account import memory_of
from .method import free_bytes
from .references import expected_forwards, learns
from .scope_names import Named, by_name, selected
from .speed import BLOCK
from .step_passes import forwards as taken
from .step_passes import passes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..estimator.estimator import Estimator
    from ..models.load import LoadedModel
    from ..protocol.cell import Cell
    from ..protocol.protocol import Protocol
    from ..scopes.scope import Scope
    from ..tasks.prepared import PreparedTask
    from .cell_shapes import CellShapes
    from .memory_account import MemoryAccount
    from .session import Session

BATCHES = 64
"""Training batches whose tokens are counted."""
BASELINE_PASSES = 4.0
"""Over all weights, of the speed measurement's other side: three to perturb, one to update."""


@dataclass(frozen=True)
class Cost:
    """The cost of one cell.

    Forward passes by purpose, seconds in all, seconds of a training step and of its forward passes, entries that move.
    assumed: the scope is not known before the selector runs, and is taken to be one decoder block.
    """

    forwards: dict[str, int]
    seconds: float
    step_s: float = 0.0
    forward_s: float = 0.0
    scope: int = 0
    engine: str = ""
    assumed: bool = False


@dataclass(frozen=True)
class TokenCounts:
    """Tokens of a forward pass: over a training batch with the rows of the cell, and over all scored rows of test and
    dev.

    length, whole: length of the rows of a batch, and of rows in full as MeZO has them.
    """

    batch: float
    length: float
    replicated: float
    whole: float
    dev: float
    test: float
    dev_loss: float


class Estimate:
    """Costs of the cells of one session; what cells share is looked at once."""

    def __init__(self, session: Session, pace: Pace | None = None) -> None:
        self.session = session
        self._pace = pace
        self._tokens: dict[Any, TokenCounts] = {}
        self._scopes: dict[Any, tuple[Scope, int, bool]] = {}
        self._shapes: dict[Any, CellShapes] = {}

    def memory(self, cell: Cell, limit: int | None = None) -> MemoryAccount | None:
        """What the cell will hold on the device, or on one of `limit` bytes; None for a cell that trains nothing."""
        loaded, cls = self.session.loaded, self.session.plugins.estimator(cell.estimator)
        if not cls.trains:
            return None
        scope, _, _ = self._scope(cell)
        prepared, _ = self.session.prepared(cell.task, cell.protocol, cell.computation.rows)
        key = (selected(cell), cell.task, cell.protocol, prepared.rows)
        if key not in self._shapes:
            self._shapes[key] = shapes_of(loaded, scope, prepared, cell.protocol)
        room = limit if limit is not None else self.pace.memory
        kind = loaded.device.type if room is None else "cuda"
        whole = free_bytes(loaded.device) if room is None else room
        return memory_of(cell, self._shapes[key], whole, cls, kind)

    @property
    def pace(self) -> Pace:
        """The pace of the named device, else of this one, which is measured on first use."""
        if self._pace is None:
            self._pace = measured(self.session.loaded)
        return self._pace

    def of(self, cell: Cell) -> Cost:
        """Forwards and seconds of one cell, as if it were the only one.

        `train`, `extra` and `speed` are what the record will say, for an estimator that takes as many forwards as were
        counted (and `extra_forwards_per_step`) at the settings given. `eval` is at most that: generation may stop
        early. Cells of one task share the zero-shot score: each of them counts it, and its time.
        """
        session, rules, cls = self.session, cell.protocol, self.session.plugins.estimator(cell.estimator)
        prepared, splits = session.prepared(cell.task, rules, cell.computation.rows)
        prepared = prepared.scoring_in(cell.computation.scored_in)
        own, tokens = session.scored(cell, prepared), self._tokens_of(cell, prepared)
        dev = math.ceil(len(splits.dev) / rules.eval_batch_size)
        moving = [name for name, _ in self._scope(cell)[0].named] if cls.trains else []
        step = taken(cls, cell.estimator_settings, moving) if cls.trains else 0
        untouched = prepared.scoring_forwards("test") if cls.trains or own is not prepared else 0
        scoring = own.scoring_forwards("dev") + own.scoring_forwards("test")
        forwards = {"train": 0, "eval": untouched + scoring}
        calibrated = 0
        if learns(cls):
            calibrated, scoring = expected_forwards(prepared)
            untouched = prepared.scoring_forwards("test")
            forwards |= {"calibration": calibrated, "eval": untouched + scoring}
        longer = own.tokens("test") / max(1, prepared.tokens("test"))  # rows with demonstrations, to those without
        seconds = self._scoring_s(untouched, tokens.test) + calibrated * self.pace.forward_s(tokens.batch)
        seconds += self._scoring_s(scoring, longer * (tokens.dev + tokens.test))
        if not cls.trains:
            return Cost(forwards, seconds)
        return self._trained(cell, cls, forwards, seconds, tokens, (step, dev))

    def _trained(
        self,
        cell: Cell,
        cls: type[Estimator],
        forwards: dict[str, int],
        seconds: float,
        tokens: TokenCounts,
        counts: tuple[int, int],
    ) -> Cost:
        (step, dev), rules, pace = counts, cell.protocol, self.pace
        scope, lowest, assumed = self._scope(cell)
        numel = scope.numel()
        engine, restore = self._engine(cell, numel)
        above = self._above(cell, lowest)
        all_forwards = step + cls.extra_forwards_per_step
        forward_s = all_forwards * pace.forward_s(tokens.batch, tokens.length) * above
        sweep_s = pace.sweep_s(self._noise(cell, engine), numel, len(scope.named))
        swept = passes(cls, cell.estimator_settings, engine, restore) * sweep_s
        step_s = forward_s + swept
        steps = _steps(rules, all_forwards, step_s)
        checkpoints = len(cell.lrs) * (rules.steps // rules.eval_every) * dev
        selector = self.session.plugins.selector(cell.selector)(**cell.selector_settings)
        whole = step + round(cls.extra_forwards_per_step)
        timed = cell.computation.speed_steps + cell.computation.speed_warmup
        timed += math.ceil(timed / BLOCK)  # the uncounted first step of each block
        account = self.memory(cell)
        timed *= bool(cell.computation.speed_steps) and (account is None or account.speed_fits)  # else it is left out
        forwards["train"] = len(cell.lrs) * steps * step
        if cls.extra_forwards_per_step:
            forwards["extra"] = round(len(cell.lrs) * steps * cls.extra_forwards_per_step)
        forwards["selection"] = selector.expected_forwards(_blocks(self.session.loaded), whole, dev)
        forwards["speed"] = timed * (whole + 2)
        forwards["eval"] += checkpoints
        seconds += len(cell.lrs) * steps * step_s
        seconds += forwards["selection"] * pace.forward_s(tokens.batch) + checkpoints * pace.forward_s(tokens.dev_loss)
        baseline = 2 * pace.forward_s(tokens.replicated, tokens.whole)
        baseline += BASELINE_PASSES * pace.pass_s["official"] * self.session.loaded.parameters
        return Cost(forwards, seconds + timed * (step_s + baseline), step_s, forward_s, numel, engine, assumed)

    def _scoring_s(self, forwards: int, tokens: float) -> float:
        return forwards * self.pace.call_s + tokens * self.pace.token_s

    def _tokens_of(self, cell: Cell, prepared: PreparedTask) -> TokenCounts:
        key = (cell.task, cell.protocol, prepared.rows)
        if key not in self._tokens:
            rules, whole = cell.protocol, prepared.replicated()
            order = training_order(prepared.train_size, min(rules.batch_size, prepared.train_size), cell.seed)
            drawn = [next(order) for _ in range(BATCHES)]
            own, length = _looked_at(prepared, drawn)
            each, longest = _looked_at(whole, drawn)
            less = own / each  # what rows have in common is looked at once
            size = max(1, min(rules.batch_size, prepared.train_size))
            dev, test = (less * prepared.tokens("dev"), less * prepared.tokens("test"))
            of_dev = own / size * rules.eval_batch_size
            self._tokens[key] = TokenCounts(own, length, each, longest, dev, test, of_dev)
        return self._tokens[key]

    def _scope(self, cell: Cell) -> tuple[Scope, int, bool]:
        """(what may move, the lowest block of it, whether that is assumed)."""
        key = selected(cell)
        if key not in self._scopes:
            self._scopes[key] = self._looked_up(cell)
        return self._scopes[key]

    def _looked_up(self, cell: Cell) -> tuple[Scope, int, bool]:
        loaded = self.session.loaded
        told = Named(loaded, cell.seed)
        scope = by_name(cell, told, self.session.plugins)
        if scope is None:
            return (told.layers(0) if _blocks(loaded) else told.everything()), 0, True
        lowest = min(scope.layers, default=0) if len(scope.layers) < _blocks(loaded) else 0
        return scope, lowest, False

    def _engine(self, cell: Cell, numel: int) -> tuple[str, str]:
        """The engine and the way of restoring that the run would choose."""
        wish, loaded = cell.computation, self.session.loaded
        size = DTYPES[loaded.dtype].itemsize
        known = self.pace.memory
        free = free_bytes(loaded.device) if known is None else max(0, known - loaded.weights_bytes)
        block = loaded.blocks[0].numel() if _blocks(loaded) else 0
        chosen = choose(numel, loaded.parameters, free, layer_numel=block, itemsize=size)
        engine = chosen.engine if wish.engine == AUTO else wish.engine
        return engine, _restore(engine, chosen.restore if wish.restore == "auto" else wish.restore)

    def _noise(self, cell: Cell, engine: str) -> str:
        """How a pass over weights comes by its noise, as a pace knows them."""
        if engine.startswith("official"):
            return "official"
        cpu = self.pace.memory is None  # engines keep what they drew
        return KEPT if cpu else FUSED if cell.computation.noise == "philox" else DRAW

    def _above(self, cell: Cell, lowest: int) -> float:
        """The share of the blocks that a forward passes through."""
        wish, blocks = cell.computation, _blocks(self.session.loaded)
        cut = wish.prefix_cache == "auto" and wish.rows != "replicated" and blocks
        return 1 - lowest / blocks if cut else 1.0


def cost(cell: Cell, session: Session) -> Cost:
    """The cost of one cell on this machine (see Estimate.of)."""
    return Estimate(session).of(cell)


def _looked_at(prepared: PreparedTask, drawn: Sequence[list[int]]) -> tuple[float, float]:
    """TokenCounts of a forward over each of these batches, padding included, and the length of its rows: means."""
    made = [prepared.train_batch(indices) for indices in drawn]
    ids = [(one if one.shared is None else one.shared).input_ids for one in made]
    return sum(i.numel() for i in ids) / len(ids), sum(i.shape[-1] for i in ids) / len(ids)


def _restore(engine: str, asked: str) -> str:
    from ..engine import engine_class

    return engine_class(engine).restored(asked)


def _steps(protocol: Protocol, forwards: float, seconds: float) -> int:
    """The steps of a run, of which each takes this many forwards, and these seconds."""
    if protocol.train_forwards:
        return max(1, int(protocol.train_forwards / forwards))
    if protocol.train_seconds:
        return max(1, int(protocol.train_seconds / seconds))
    return protocol.steps


def _blocks(loaded: LoadedModel) -> int:
    """The number of decoder blocks; 0 where none are found, which only a selector that wants one minds."""
    try:
        return len(loaded.blocks)
    except ZobenchError:
        return 0
