"""What a user sees of training: a bar on a terminal, and a line for each line of the log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.console import Console

from zobench import progress_bars

if TYPE_CHECKING:
    from .checkpoint import TrainingCounts
    from .recipe import Recipe


class TrainingProgress:
    """The console of a training (zobench_world.pretrain.loop.Watcher)."""

    def __init__(self, recipe: Recipe, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.bars = progress_bars(self.console, refresh_per_second=2)
        self.bar = self.bars.add_task("pre-training", total=recipe.steps, note="", start=False)
        self.since: tuple[float, int] | None = None  # the time and the tokens after this sitting's first step

    def __enter__(self) -> TrainingProgress:
        self.bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.bars.stop()

    def say(self, line: str) -> None:
        """One line that stays."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def step(self, counts: TrainingCounts, loss: float | None) -> None:
        """Move the bar."""
        now = time.perf_counter()
        if self.since is None:
            self.since = now, counts.tokens
            self.bars.reset(self.bar, completed=counts.step, note="")
        if loss is not None:
            speed = (counts.tokens - self.since[1]) / max(now - self.since[0], 1e-9)
            self.bars.update(self.bar, completed=counts.step, note=f"loss {loss:.3f}, {speed:,.0f} tokens/s")

    def line(self, line: dict[str, Any]) -> None:
        """One line that stays: losses, and the block with the largest activation."""
        top = max(line["blocks"], key=lambda row: row["max"])
        self.say(
            f"step {line['step']}: loss {line['train_loss']:.4f}, validation {line['validation_loss']:.4f}, "
            f"{line['tokens'] / 1e6:.2f} M tokens, {line['seconds']:.0f} s; largest activation {top['max']:.1f} "
            f"after block {top['block']} ({top['ratio']:.0f} x median, {'at BOS' if top['bos'] else 'not at BOS'})"
        )
