"""What frames of a journal say of a training run: its steps, their times, and all that is counted."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
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
    start = next((i + 1 for i in range(len(frames) - 1, -1, -1) if _snapshot_of(frames[i], folder)), 0)
    end = start
    while end < len(frames) and not frames[end].facts["wide"]:
        end += 1
    return start, end


def _snapshot_of(frame: Frame, folder: Path) -> bool:
    """Whether the snapshot that a frame speaks of is there, as it was written."""
    if "snapshot" not in frame.facts:
        return False
    with contextlib.suppress(OSError):
        return bool(checksum(folder / frame.facts["snapshot"]) == frame.facts.get("snapshot_crc"))
    return False


def checksum(path: Path, size: int | None = None) -> int:
    """The CRC-32 of a file's bytes, or of so many of them from the start."""
    crc, left = 0, os.path.getsize(path) if size is None else size
    with path.open("rb") as f:
        while part := f.read(min(left, 2**20)):
            crc, left = zlib.crc32(part, crc), left - len(part)
    return crc


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
