"""What a user sees while cells run: bars on a terminal, one line a cell elsewhere. Observers hear of it here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from ..report.summary import summarise

if TYPE_CHECKING:
    from torch import Tensor

    from ..plugins.registry import Plugins
    from ..protocol.cell import Cell
    from ..report.record import CellKey, Record
    from .artefacts import Artefacts

LOG_EVERY = 10  # steps between two looks at the loss, as MeZO's: each look waits for the device


class Reports(Protocol):
    """What is told of cells as they run: of Progress, and of what stands for it in other processes."""

    @property
    def plugins(self) -> Any:
        """Has `fire_step` and `fire_eval`."""

    def cell_start(self, cell: Cell) -> None:
        """A cell begins."""

    def cell_end(self, record: Record) -> None:
        """A cell is over."""

    def phase(self, text: str) -> None:
        """What is being done, where it is no training."""

    def items(self, done: int, total: int) -> None:
        """Examples evaluated so far."""

    def watch(self, cell: Cell, artefacts: Artefacts) -> TrainingWatch:
        """A watcher of one training run of this cell."""

    def training(self, step: int, total: int, lr: float, dev: float | None) -> None:
        """A step is done."""


def progress_bars(console: Console, *, refresh_per_second: float = 10) -> Bars:
    """Progress bars (rich's) that say what is done, how far, the time left and a note, and go when they are over.

    Elsewhere than on a terminal nothing is shown. Each task is given a `note`: `bars.add_task("cells", note="")`.
    """
    return Bars(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
        refresh_per_second=refresh_per_second,
    )


class Progress:
    """The console of a run: cells done, the step and its time left, the last dev loss."""

    def __init__(self, plugins: Plugins, total: int, console: Console | None = None) -> None:
        self.plugins, self.total, self.done = plugins, total, 0
        self.console = console or Console(stderr=True)
        self.bars = progress_bars(self.console)
        self._cells: TaskID = self.bars.add_task("cells", total=total, note="")
        self._inner: TaskID = self.bars.add_task("", total=1, note="", visible=False)
        self._elsewhere: dict[str, TaskID] = {}

    def more(self, cells: int) -> None:
        """More cells are planned than at the start."""
        self.total += cells
        self.bars.update(self._cells, total=self.total)

    def __enter__(self) -> Progress:
        self.bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.bars.stop()

    def cell_start(self, cell: Cell) -> None:
        """A cell begins."""
        self.bars.update(self._cells, note=str(cell))

    def cell_end(self, record: Record) -> None:
        """A cell is over: print a line that stays."""
        self.bars.update(self._inner, visible=False)
        self._ended(summarise(record))

    def _ended(self, line: str) -> None:
        self.done += 1
        self.bars.update(self._cells, completed=self.done)
        self.console.print(f"[{self.done}/{self.total}] {line}", highlight=False, markup=False, soft_wrap=True)

    def elsewhere(self, who: str, cell: str, note: str, done: int, total: int | None) -> None:
        """How far another process is with its cell: a bar of its own."""
        if who not in self._elsewhere:
            self._elsewhere[who] = self.bars.add_task("", total=None, note="")
        self.bars.update(self._elsewhere[who], description=cell, completed=done, total=total, note=note, visible=True)

    def ended_elsewhere(self, who: str, line: str) -> None:
        """Another process is done with a cell: its line, which stays."""
        if who in self._elsewhere:
            self.bars.update(self._elsewhere[who], visible=False)
        self._ended(line)

    def phase(self, text: str) -> None:
        """What is being done, where it is no training."""
        self.bars.reset(self._inner, description=text, total=None, note="", visible=True)

    def items(self, done: int, total: int) -> None:
        """Examples evaluated so far."""
        self.bars.update(self._inner, completed=done, total=total)

    def watch(self, cell: Cell, artefacts: Artefacts) -> TrainingWatch:
        """A watcher of one training run of this cell."""
        self.bars.reset(self._inner, description="training", total=cell.protocol.steps, note="", visible=True)
        return TrainingWatch(self, cell.key(), artefacts)

    def training(self, step: int, total: int, lr: float, dev: float | None) -> None:
        """A step is done; `dev` is the last dev loss."""
        note = f"lr {lr:g}" + ("" if dev is None else f", dev loss {dev:.4f}")
        self.bars.update(self._inner, description="training", completed=step, total=total, note=note)


class TrainingWatch:
    """Passes what the loop reports on to the bar, the step log and the observers (zobench.run.train.Watcher)."""

    def __init__(self, progress: Reports, key: CellKey, artefacts: Artefacts) -> None:
        self.progress, self.key, self.artefacts = progress, dict(key), artefacts
        self.last_dev: float | None = None

    def step(self, step: int, steps: int, lr: float, loss: Tensor) -> None:
        """Log every tenth step; move the bar at each."""
        if step % LOG_EVERY == 0 or step == 1:
            value = float(loss)
            self.artefacts.log(lr=lr, step=step, loss=value)
            self.progress.plugins.fire_step(cell=self.key, step=step, lr=lr, loss=value)
        self.progress.training(step, steps, lr, self.last_dev)

    def dev(self, step: int, lr: float, loss: float) -> None:
        """Log every dev evaluation."""
        self.last_dev = loss
        self.artefacts.log(lr=lr, step=step, dev_loss=loss)
        self.progress.plugins.fire_eval(cell=self.key, step=step, lr=lr, dev_loss=loss)
