"""What the diary of a run says that an earlier process began or ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..estimator.log import StepLog
from ..timers import StepTimes
from . import written

if TYPE_CHECKING:
    from .diary import Diary


def pass_over(diary: Diary) -> str:
    """Continue after a run that ended in an earlier process. Returns the lines of its step log."""
    assert diary.past is not None and diary.past.ended is not None
    diary.left()
    return "".join(frame.facts["lines"] for frame in diary.past.frames) + str(diary.past.ended["lines"])


def lines_so_far(diary: Diary) -> str:
    """The lines of the step log of a run that an earlier process began, up to where this one goes on."""
    if diary.past is None:
        return ""
    end = written.usable(diary.past.frames, diary.journal.folder)[1]
    return "".join(frame.facts["lines"] for frame in diary.past.frames[:end])


def logged(diary: Diary, steps: int) -> list[StepLog]:
    """What was seen by the first steps of a run that ended."""
    assert diary.past is not None
    return [step for frame in diary.past.frames for step in written.steps(frame)][:steps]


def seconds(diary: Diary) -> list[list[StepTimes]]:
    """The times of the steps of a run that ended, by process."""
    assert diary.past is not None
    return written.segments(diary.past.frames, diary.past.segments)
