"""How long a bench will take, by the account that `--dry-run` makes of a run, and the steps for which there is time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..run.device_pace import DRAW, FUSED, KEPT, Pace
from ..run.step_passes import forwards, passes
from .sides import Side, Timing

if TYPE_CHECKING:
    from ..models.load import LoadedModel
    from .work import Work

TURN = 5
"""Steps of a side after which it is put on the model anew, with a step that is not counted."""


class StepsInTime(NamedTuple):
    """Timed steps of each side, and the seconds of each task that they take, warm-up and prefix caches included."""

    steps: int
    seconds: Mapping[str, float]
    fits: bool

    def line(self, minutes: float, wanted: int) -> str:
        """For the person at the terminal."""
        of_tasks = ", ".join(f"{task} {s / 60:.1f}" for task, s in self.seconds.items())
        fewer = "" if self.steps == wanted else f", not {wanted}"
        over = "" if self.fits else ": more than there is, and fewer steps than one cannot be timed"
        total = sum(self.seconds.values()) / 60
        taken = f"{total:.1f} of {minutes:g} minutes after loading ({of_tasks}){over}"
        return f"planned: {self.steps} steps of each{fewer}; {taken}"


def step_s(side: Side, timing: Timing, work: Work, loaded: LoadedModel, pace: Pace, noise: str) -> float:
    """Seconds of a step of one side, by the account: its forwards from the first block that moves, and its passes."""
    scope, official = timing.scope(side), side.engine == "official"
    method = timing.method(side)
    tokens = work.engine_tokens if side.ours else work.padded_tokens
    share = 1 - _below(side, timing) / len(loaded.blocks)
    looks = forwards(method.estimator, method.settings, [name for name, _ in scope.named])
    engine = side.engine if side.engine != "auto" else "flat"
    swept = passes(method.estimator, method.settings, engine, "arithmetic")
    how = "official" if official else FUSED if noise == "philox" and pace.memory is not None else KEPT
    drawing = 0.0 if how != KEPT else pace.pass_s[DRAW] - pace.pass_s[KEPT]
    moved = sum(p.numel() for _, p in scope.named)
    return looks * share * pace.forward_s(tokens) + moved * (swept * pace.pass_s[how] + drawing)


def fill_s(side: Side, timing: Timing, work: Work, pace: Pace) -> float:
    """Seconds to fill a side's prefix cache: a forward over each batch, and one that checks what was kept."""
    return (len(work.batches) + 1) * pace.forward_s(work.engine_tokens) if _below(side, timing) else 0.0


def _below(side: Side, timing: Timing) -> int:
    """Blocks that a side's steps do not enter; 0 of the official order, which has no prefix cache."""
    return 0 if not side.ours or side.engine == "official" else min(timing.scope(side).layers or (0,))


def planned(
    sides: Sequence[Side], timing: Timing, works: Sequence[Work], loaded: LoadedModel, pace: Pace, noise: str,
    *, steps: int, warmup: int, minutes: float,
) -> StepsInTime:  # fmt: skip
    """As many steps, at most `steps`, as these minutes have room for; at least one."""
    each = {
        work.task: sum((1 + side.graphs) * step_s(side, timing, work, loaded, pace, noise) for side in sides)
        for work in works
    }  # of graphs each step is taken once before, to capture it
    caches = {work.task: sum(fill_s(side, timing, work, pace) for side in sides) for work in works}

    def seconds(n: int) -> dict[str, float]:
        made = warmup + n + -(-warmup // TURN) + -(-n // TURN)
        return {task: made * s + caches[task] for task, s in each.items()}

    for n in range(steps, 0, -1):
        if sum(seconds(n).values()) <= 60 * minutes:
            return StepsInTime(n, seconds(n), True)
    return StepsInTime(1, seconds(1), False)
