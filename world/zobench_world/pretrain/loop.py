"""The steps of training, its log and its checkpoints; goes on from a checkpoint as if it had not stopped."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from zobench import ZobenchError

from . import checkpoint
from .checkpoint import TrainingCounts
from .evaluation import activations, validation_loss
from .feed import StepFeed
from .model import adamw, body, loss, precision
from .packing import PackedPart, Rows, split
from .recipe import Recipe

LOG = "log.jsonl"
"""A line every `eval_every` steps and at the last one: step, tokens, seconds, train_loss (the mean since the line
before), validation_loss, grad_norm (before clipping), lr, and `blocks` (see evaluation.activations)."""
VALIDATION_ROWS = 128
"""Held-out rows that the log's lines are about."""

_AT_ONCE = 8192  # tokens of held-out rows that go through the model together
_LOOK_EVERY = 10  # steps between two looks at a loss on a GPU: each look waits for it


class TextSource(Protocol):
    """Where text comes from: `Generated` or `Corpus`."""

    def rows(self, step: int) -> Rows:
        """What step `step` (from 0) is trained on: a function of the recipe's seed and the step."""

    def validation(self, count: int) -> Rows:
        """At most `count` held-out rows."""

    def digest(self) -> str:
        """What changes when the text does."""

    def facts(self) -> dict[str, Any]:
        """What a model card says of the text."""


class TrainingWatcher(Protocol):
    """What wants to know how training goes."""

    def step(self, counts: TrainingCounts, loss: float | None) -> None:
        """After each step; `loss` where it was looked at."""

    def line(self, line: dict[str, Any]) -> None:
        """After each line of the log."""


@dataclass(frozen=True, kw_only=True)
class KeepingPace:
    """How often something is kept: changes no weight."""

    save_every: int = 500
    """Steps between two checkpoints."""
    eval_every: int = 200
    """Steps between two lines of the log."""


class Training:
    """A model in training, in a folder that has log.jsonl and the newest checkpoint."""

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        dtype: str,
        source: TextSource,
        model: Any,
        tokenizer: Any,
        begun: TrainingCounts | None = None,
    ) -> None:
        """Goes on from the checkpoint in `folder` if there is one. `model` is where it is to be trained; `begun`: what
        was done to its weights before.

        Raises ZobenchError where the checkpoint is damaged or was trained on other text.
        """
        self.folder, self.recipe, self.dtype, self.source = folder, recipe, dtype, source
        self.model, self.tokenizer = model, tokenizer
        self.device: torch.device = model.device
        self.parameters, self.body = list(model.parameters()), body(model, recipe)
        self.optimizer = adamw(model, recipe)
        held_out = source.validation(VALIDATION_ROWS)
        self.validation = split(held_out, min(len(held_out.ids), -(-held_out.ids.size // _AT_ONCE)))
        self.counts = begun or TrainingCounts()
        self.counts.digest = source.digest()
        self.kept = checkpoint.newest(folder)
        if self.kept is not None:
            self.counts = checkpoint.load(self.kept, model, self.optimizer)
            if self.counts.digest != source.digest():
                raise ZobenchError(f"{self.kept} was trained on other text than there is now: give a new --out folder")
        self._forget_lines_after(self.counts.step)
        self.norm, self.began = torch.zeros(()), time.perf_counter()
        self.summed = torch.tensor(self.counts.summed_loss, dtype=torch.float64, device=self.device)

    def run(self, pace: KeepingPace, watcher: TrainingWatcher, about: dict[str, Any]) -> None:
        """Train to the recipe's last step. `about` says where: it is kept with the step at which this sitting began.

        An interrupt ends the step in hand, leaves a checkpoint and raises KeyboardInterrupt. Raises ZobenchError when
        the loss is no longer finite.
        """
        counts, last = self.counts, self.recipe.steps
        if counts.step < last:
            counts.sittings.append({"from_step": counts.step, **about})
        self.began = time.perf_counter() - counts.seconds
        with StepFeed(self._parts, counts.step, last) as feed, _deferred_interrupts() as interrupted:
            while counts.step < last:
                tokens, parts = feed.next()
                value = self._step(counts.step, parts)
                counts.step, counts.tokens, counts.since = counts.step + 1, counts.tokens + tokens, counts.since + 1
                look = self.device.type == "cpu" or counts.step % _LOOK_EVERY == 0
                watcher.step(counts, float(value) if look else None)
                if counts.step % pace.eval_every == 0 or counts.step == last:
                    watcher.line(self._log())
                if counts.step % pace.save_every == 0 or counts.step == last or interrupted():
                    self._save()
                if interrupted() and counts.step < last:
                    raise KeyboardInterrupt

    def last_line(self) -> dict[str, Any]:
        """The last line of the log."""
        line: dict[str, Any] = json.loads(self._lines()[-1])
        return line

    def _parts(self, step: int) -> tuple[int, list[PackedPart]]:
        rows = self.source.rows(step)
        parts = split(rows, self.recipe.accumulate)
        return rows.tokens, [part.pinned() for part in parts] if self.device.type == "cuda" else parts

    def _step(self, step: int, parts: list[PackedPart]) -> Tensor:
        """One update; the loss (mean by weight), without waiting for it."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate(step)
        total = torch.zeros((), device=self.device)
        for part in parts:
            with precision(self.device, self.dtype):
                value = loss(self.model, part.to(self.device), self.body)
            value.backward()  # type: ignore[no-untyped-call]
            total += value.detach()
        self.norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.summed += total
        return total

    def _log(self) -> dict[str, Any]:
        counts = self.counts
        self._check()
        line = {
            "step": counts.step,
            "tokens": counts.tokens,
            "train_loss": float(self.summed) / counts.since,
            "validation_loss": validation_loss(self.model, self.validation, self.dtype),
            "grad_norm": float(self.norm),
            "lr": self.recipe.learning_rate(counts.step - 1),
            "blocks": activations(self.model, self.tokenizer, self.validation, self.dtype),
            "seconds": round(time.perf_counter() - self.began, 2),
        }
        counts.since = 0
        self.summed.zero_()
        with (self.folder / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line, allow_nan=False) + "\n")
        return line

    def _save(self) -> None:
        self._check()
        self.counts.seconds = time.perf_counter() - self.began
        self.counts.summed_loss = float(self.summed)
        self.kept = checkpoint.save(self.folder, self.counts, self.model, self.optimizer)

    def _check(self) -> None:
        """ZobenchError where a loss since the last line or the last gradient is not finite."""
        if not math.isfinite(float(self.summed)) or not math.isfinite(float(self.norm)):
            where = f"the last checkpoint is {self.kept}" if self.kept else "there is no checkpoint yet"
            raise ZobenchError(
                f"the loss is not finite by step {self.counts.step}: give a lower --lr and a new --out ({where})"
            )

    def _lines(self) -> list[str]:
        log = self.folder / LOG
        return log.read_text(encoding="utf-8").splitlines() if log.is_file() else []

    def _forget_lines_after(self, step: int) -> None:
        """Those of steps that will be done again; the last line may be half a line."""
        kept = []
        for line in self._lines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except ValueError:
                break
        (self.folder / LOG).write_text("".join(kept), encoding="utf-8")


@contextmanager
def _deferred_interrupts() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed, for the loop to ask between steps; a second Ctrl-C acts at once."""
    if threading.current_thread() is not threading.main_thread():  # no interrupt comes here
        yield lambda: False
        return
    before = signal.getsignal(signal.SIGINT) or signal.default_int_handler
    asked: list[int] = []

    def note(number: int, _: Any) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)
