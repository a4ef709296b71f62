"""What the cells of one run share: the loaded model, the data of each task, the scores of the untouched model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..protocol.protocol import asked
from ..tasks.doubts import doubts
from ..tasks.prepared import PreparedTask
from ..tasks.sampling import Splits, split
from ..tasks.source import Pools, Where, load_pools

if TYPE_CHECKING:
    from ..models.load import LoadedModel
    from ..plugins.registry import Plugins
    from ..protocol.cell import Cell
    from ..protocol.protocol import Computation, Protocol
    from ..tasks.rules import BatchRule, RowsRule
    from ..tasks.score import Score
    from ..tasks.task import Task
    from .ranks import Ranks
    from .speed import Baseline


@dataclass
class Session:
    """One model, one source of data, many cells. Only the task in hand is kept encoded."""

    loaded: LoadedModel
    plugins: Plugins
    where: Where
    offline: bool = False
    reload: Callable[[], LoadedModel] | None = None
    """Loads the same model anew, on the host: what a cell left changed is put back from it."""
    pools: dict[str, Pools] = field(default_factory=dict)
    ranks: Ranks | None = None
    """The processes that run each cell together."""
    zero_shot: dict[tuple[str, Protocol, RowsRule, BatchRule], Score] = field(default_factory=dict)
    baselines: dict[tuple[str, Protocol, Computation], Baseline] = field(default_factory=dict)
    """Of speed measurements, by task."""
    _prepared: tuple[tuple[str, Protocol, RowsRule], PreparedTask, Splits] | None = None

    def task(self, name: str) -> Task:
        """The task by name."""
        return self.plugins.task(name)

    def data(self, name: str) -> Pools:
        """The task's train and validation pools, loaded once."""
        if name not in self.pools:
            self.pools[name] = load_pools(self.task(name), self.where, offline=self.offline)
        return self.pools[name]

    def prepared(self, name: str, protocol: Protocol, rows: RowsRule = "shared") -> tuple[PreparedTask, Splits]:
        """The task made ready for the model under this protocol."""
        key = (name, protocol, rows)
        if self._prepared is None or self._prepared[0] != key:
            task = self.task(name)
            splits = split(
                self.data(name),
                num_train=protocol.num_train,
                num_dev=task.num_dev if protocol.num_dev is None else protocol.num_dev,
                num_test=protocol.num_test,
                seed=protocol.data_seed,
            )
            splits = replace(splits, notes=splits.notes | doubts(task, splits, self.data(name)))
            made = PreparedTask(task, splits, self.loaded, protocol, rows)
            made.spread = self.ranks
            self._prepared = (key, made, splits)
        return self._prepared[1], self._prepared[2]

    def scored(self, cell: Cell, prepared: PreparedTask) -> PreparedTask:
        """The task as the cell's estimator is scored on it: the same object where it asks for nothing of its own."""
        cls = self.plugins.estimator(cell.estimator)
        rules = asked(cell.protocol, cls.scored_by, cell.estimator_settings)
        return prepared if rules == cell.protocol else prepared.scored_by(rules)

    def untouched(
        self,
        name: str,
        protocol: Protocol,
        prepared: PreparedTask,
        progress: Callable[[int, int], None],
        shared: Callable[[Callable[[], Score]], Score] = lambda take: take(),
    ) -> Score:
        """The test score of the model as it was loaded, taken once for all cells of a task.

        shared: gives the score that another process took, or calls what takes it.

        `forwards` of the score are those it took then: a cell counts them whether it took the score or found it, so
        that its record does not depend on the cells before it.
        """
        key = (name, protocol, prepared.rows, prepared.scored_in)
        if key not in self.zero_shot:
            self.zero_shot[key] = shared(lambda: prepared.test_score(self.loaded.model, progress))
        return self.zero_shot[key]
