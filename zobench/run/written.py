"""What frames of a journal say of a training run: its steps, their times, and all that is counted."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..estimator.log import StepLog, unpack
from ..timers import StepTimes

if TYPE_CHECKING:
    from .journal import Frame
    from .train import Trained

_TIMES = struct.Struct("<4d")
MEASURED = ("eval_forwards", "eval_s", "train_s")
"""What of a run every frame has as it was after its steps."""


def usable(frames: Sequence[Frame], folder: Path) -> tuple[int, int]:
    """(start, end): the frames [start, end) can be replayed, from the snapshot of frame start - 1 or from the
    beginning.
    """
    start = 0
    for i, frame in enumerate(frames):
        if "snapshot" in frame.facts and (folder / frame.facts["snapshot"]).is_file():
            start = i + 1
    end = start
    while end < len(frames) and not frames[end].facts["wide"]:
        end += 1
    return start, end


def steps(frame: Frame) -> list[StepLog]:
    """What its steps saw."""
    size = len(frame.payload) - _TIMES.size * frame.facts["times"]
    return unpack(frame.payload[:size], frame.facts["first"], frame.facts["steps"])


def packed(t: StepTimes) -> bytes:
    """The times of a step, as they stand behind the steps of a frame."""
    return _TIMES.pack(t.forward_s, t.perturb_s, t.update_s, t.step_s)


def times(frame: Frame) -> list[StepTimes]:
    """The times of its steps."""
    size = len(frame.payload) - _TIMES.size * frame.facts["times"]
    return [StepTimes(*one) for one in _TIMES.iter_unpack(frame.payload[size:])]


def segments(frames: Sequence[Frame], begins: Sequence[int]) -> list[list[StepTimes]]:
    """The times of all their steps, by process: the first began with the first frame, others with one of `begins`."""
    out: list[list[StepTimes]] = []
    for i, frame in enumerate(frames):
        if i == 0 or i in begins:
            out.append([])
        out[-1] += times(frame)
    return out


def counted(out: Trained, frames: Sequence[Frame]) -> None:
    """All that is counted of a run, as it was after the last of its frames."""
    last = frames[-1].facts
    out.steps = last["first"] + last["steps"]
    out.curve = [(step, loss) for frame in frames for step, loss in frame.facts["dev"]]
    for step, loss in out.curve:
        if out.best_loss is None or loss < out.best_loss:
            out.best_step, out.best_loss = step, loss
    for name in MEASURED:
        setattr(out, name, last[name])
