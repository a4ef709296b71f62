"""One training run in the journal of its cell: what the loop writes down, and how it goes on from what was written.

Steps that saw only losses are run again from what they saw, without a forward pass; the others go on from the last
snapshot: weights, state and best checkpoint, taken between two steps where nothing is displaced.
"""

from __future__ import annotations

import itertools
import math
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import ZobenchError
from ..estimator.estimator import Estimator
from ..estimator.log import StepLog, pack
from ..estimator.state import plain_attributes
from ..report import disk
from . import journal, written
from .checksum import checksums
from .journal import Journal
from .prefix import KeptCache
from .surroundings import random_state, set_random_state

if TYPE_CHECKING:
    from .budget import Budget
    from .train import Feed, Keep, Trained

_ENDED = ("steps", "status", "message", "best_step", "best_loss", "together", *written.MEASURED)
SNAPSHOTS = 0.05
"""Of the time, what snapshots may take."""


class LeadsElsewhere(ZobenchError):
    """The recorded steps lead to other weights on this machine, so the run cannot be resumed."""


class Diary:
    """What a training run writes down.

    lines: takes the lines of the step log since it was last asked, as text. limit: bytes that a snapshot may have;
    warn: is told, once, where one would have more.
    check: raises where the cell is not this process's any more. kept: the cache that the run fills.
    """

    def __init__(
        self,
        of: Journal,
        key: Mapping[str, Any],
        *,
        limit: int,
        lines: Callable[[], str] = str,
        check: Callable[[], None] = lambda: None,
        warn: Callable[[str], None] = lambda line: None,
        kept: KeptCache | None = None,
    ) -> None:
        self.journal, self.limit, self.lines, self.check, self.warn = of, limit, lines, check, warn
        self.number, self.past = of.next_run(key)
        self.key = dict(key)
        """What tells this run from the others of its cell."""
        self._written = self._curve = 0
        self._wide = False
        self._next = self._snapshot_at = 0.0
        self._snapshot: Path | None = None
        self._snapshot_crc = 0
        self._best_sums: tuple[int, str] | None = None
        self._streams: str | None = None
        self._kept = kept

    @property
    def began(self) -> Mapping[str, Any]:
        """What the run began with in an earlier process; empty for the first."""
        return {} if self.past is None else self.past.began

    @property
    def ended(self) -> Mapping[str, Any] | None:
        """What came of the run in an earlier process; None where it did not end there."""
        return None if self.past is None else self.past.ended

    def begin(self, **facts: Any) -> None:
        """The run begins: with these facts, unless an earlier process began it."""
        if self.past is None:
            self._streams = random_state()
            self._hold()
            kept = self._cache_now()
            self.journal.write("begin", run=self.number, key=self.key, streams=self._streams, cache=kept, **facts)

    def _hold(self, state: Mapping[str, Any] | None = None) -> None:
        """What enters the scope is known as far as it was when an earlier process left off."""
        if self._kept is not None:
            try:
                self._kept.left(state)
                self._kept.hold()
            except (OSError, ValueError, struct.error) as e:
                raise LeadsElsewhere(f"what enters the scope cannot be read again: {e}") from e

    def _cache_now(self) -> dict[str, Any] | None:
        return None if self._kept is None else self._kept.written()

    # ---- going on

    def go_on(self, estimator: Estimator, feed: Feed, out: Trained, budget: Budget, keep: Keep) -> None:
        """Bring a run that stands at its first step to where it was left. LeadsElsewhere where weights are others then.

        Its draws and forwards, the order of its batches, what is spent, its curve, best checkpoint and times are then
        those of a run that never stopped.
        """
        self._next = self._snapshot_at = time.monotonic() + journal.FLUSH_S
        if self.past is None:
            return
        now: str = self.past.began["streams"]
        set_random_state(now)
        start, end = written.usable(self.past.frames, self.journal.folder)
        frames = self.past.frames[:end]
        self._hold(frames[-1].facts["cache"] if frames else self.past.began["cache"])
        steps = [step for frame in frames[start:] for step in written.steps(frame)]
        self.journal.write("goes on", run=self.number, frames=end, replayed=len(steps))
        self.journal.past.replayed += len(steps)
        self.past.segments = [s for s in self.past.segments if s < end]
        if not frames:
            return
        last = frames[-1].facts
        self._streams = now = next((f.facts["streams"] for f in reversed(frames) if f.facts["streams"]), now)
        written.counted(out, frames)
        if start:
            self._load(estimator, out, frames[start - 1].facts, keep)
        self._replay(estimator, out, steps, last, keep)
        if out.curve and out.curve[-1][0] == out.steps:
            estimator.settle()  # as its evaluation did
        estimator.forwards.clear()
        estimator.forwards.update(last["forwards"])
        for order, taken in ((feed.order, out.steps), (feed.extra_order, last["extra"])):
            next(itertools.islice(order, taken, taken), None)
        feed.extra_taken = last["extra"]
        budget.spent, budget.last, budget.looked = last["budget"]
        set_random_state(now)
        out.segments = [*written.segments(frames, self.past.segments), []]
        self._written, self._curve = out.steps, len(out.curve)
        self._wide = any(frame.facts["wide"] for frame in frames)
        out.first_wide = next((s.step for f in frames if f.facts["wide"] for s in written.steps(f) if s.wide), None)

    def _replay(
        self, estimator: Estimator, out: Trained, steps: Sequence[StepLog], last: Mapping[str, Any], keep: Keep
    ) -> None:
        """The steps again; on the way the best checkpoint, which must have the weights that it had."""
        first = estimator.t
        cut = max(0, out.best_step - first)
        try:
            if out.best_step > first:
                estimator.replay(steps[:cut])
                out.best = {h.name: keep(h.param.detach()) for h in estimator.handles}
            estimator.replay(steps[cut:], settle=False)
        except ZobenchError as e:
            raise LeadsElsewhere(str(e)) from e
        if last["best"] is not None and last["best"] != self._sums(out):
            raise LeadsElsewhere(f"the weights of step {out.best_step} are not those that it had")

    def _load(self, estimator: Estimator, out: Trained, facts: Mapping[str, Any], keep: Keep) -> None:
        path = self.journal.folder / facts["snapshot"]
        saved = torch.load(path, map_location="cpu", weights_only=True)
        with torch.no_grad():
            for handle in estimator.handles:
                handle.param.copy_(saved["weights"][handle.name])
        estimator.load_state_dict(saved["state"])
        for name, value in saved["own"].items():
            setattr(estimator, name, value)
        if saved["best"] is not None:
            out.best = {h.name: keep(saved["best"][h.name].to(h.param.device)) for h in estimator.handles}
        elif out.best_step == estimator.t:
            out.best = {h.name: keep(h.param.detach()) for h in estimator.handles}
        self._snapshot = path

    # ---- writing down

    def stepped(self, estimator: Estimator, feed: Feed, out: Trained, budget: Budget, *, evaluated: bool) -> None:
        """A step is over, with its evaluation: write down what there is, after every evaluation and now and then."""
        self.check()
        now = time.monotonic()
        if evaluated or now >= self._next:
            self._write(estimator, feed, out, budget)
            self._next = time.monotonic() + journal.FLUSH_S

    def _write(self, estimator: Estimator, feed: Feed, out: Trained, budget: Budget) -> None:
        steps = list(itertools.takewhile(lambda s: s.step >= self._written, reversed(estimator.log)))[::-1]
        times = out.took(estimator.timers.take())
        wide, now = any(step.wide for step in steps), random_state()
        self._wide |= wide
        facts: dict[str, Any] = {
            "run": self.number,
            "first": self._written,
            "steps": len(steps),
            "wide": wide,
            "times": len(times),
            "forwards": dict(estimator.forwards),
            "extra": feed.extra_taken,
            "budget": [budget.spent, budget.last, budget.looked],
            "dev": out.curve[self._curve :],
            "lines": self.lines(),
            "best": self._sums(out),
            "cache": self._cache_now(),
            "streams": None if now == self._streams else now,
            **{name: getattr(out, name) for name in written.MEASURED},
        }
        old, new = self._snapshot, self._take_snapshot(estimator, out) if self._wide else None
        if new is not None:
            facts |= {"snapshot": new.name, "snapshot_crc": self._snapshot_crc}
        self.journal.write("steps", pack(steps) + b"".join(map(written.packed, times)), **facts)
        if new is not None and old is not None:
            old.unlink(missing_ok=True)
        self._written, self._curve, self._streams = out.steps, len(out.curve), now

    def _sums(self, out: Trained) -> str | None:
        """A checksum of the best checkpoint; None before there is one."""
        if not out.best:
            return None
        if self._best_sums is None or self._best_sums[0] != out.best_step:
            self._best_sums = out.best_step, "-".join(checksums(out.best.items()).values())
        return self._best_sums[1]

    def _take_snapshot(self, estimator: Estimator, out: Trained) -> Path | None:
        """Save all that a run needs to go on from here; None where it is not time, not the place, or too much."""
        start = time.monotonic()
        if start < self._snapshot_at or not estimator.engine.at_rest:
            return None
        size = sum(h.param.nbytes for h in estimator.handles) + estimator.state_bytes() + estimator.engine.held_bytes()
        if size > self.limit:
            self.warn(
                f"{self.journal.cell_id}: a stop would lose all of this training run: its steps see more than losses, "
                f"and {size} bytes of weights and state are over snapshot_limit={self.limit}; raise that to go on then"
            )
            self._snapshot_at = math.inf
            return None
        best = out.best if out.best and out.best_step != out.steps else None
        flag = estimator.settled_outside
        saved = {
            "weights": {h.name: h.param.detach() for h in estimator.handles},
            "state": estimator.state_dict(),
            "own": plain_attributes(estimator, Estimator),
            "best": best,
        }
        estimator._keep(settled_outside=flag)  # it was at rest: nothing was rounded
        path = self.journal.beside(f"{self.number}-{out.steps}.state")
        with disk.replacing(path, disk.draft(path)) as f:
            torch.save(saved, f)
        self._snapshot, self._snapshot_crc = path, written.checksum(path)
        took = time.monotonic() - start
        self._snapshot_at = start + max(journal.FLUSH_S, took / SNAPSHOTS)
        return path

    def end(self, out: Trained, **facts: Any) -> None:
        """The run is over. facts: what the cell must know of it, should it be stopped later."""
        said: dict[str, Any] = {name: getattr(out, name) for name in _ENDED}
        said |= {"curve": out.curve, "lines": self.lines(), "streams": random_state(), "cache": self._cache_now()}
        self.journal.write("end", run=self.number, **said, **facts)
        if self._snapshot is not None:
            self._snapshot.unlink(missing_ok=True)

    def drop_cache(self) -> None:
        """No later run needs the cache: remove it."""
        if self._kept is not None:
            self._kept.remove()

    def left(self) -> None:
        """The run ended in an earlier process: continue draws and the cache from where it left them."""
        assert self.ended is not None
        set_random_state(self.ended["streams"])
        if self._kept is not None:
            self._kept.left(self.ended["cache"])
