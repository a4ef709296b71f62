"""One step of an estimator: the tensors that move in it, its seed, what it sees, and what of it is logged."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..directions.handle import Handle
from ..directions.shapes import Space
from ..errors import ZobenchError
from .drawing import Drawing
from .families import never_asked
from .log import StepLog
from .losses import Losses, to_show


class Stepping(Drawing):
    """Runs `iterate` as a step, on a batch or on a tape of what an earlier step saw.

    Attributes:
        log: a StepLog per step.
    """

    log: list[StepLog]
    _all_move: bool
    _spaces: dict[tuple[str, ...], Space]

    def iterate(self, losses: Losses) -> Tensor | None:
        """One step of the algorithm. Returns the loss to log; with None the first loss of the step is logged."""
        raise NotImplementedError(f"{type(self).__name__} has no iterate(self, losses)")

    def _step(self, closure: Callable[[], Tensor] | None, taped: StepLog | None) -> Tensor:
        if self._in_step:
            raise TypeError(f"{type(self).__name__}.iterate calls step: one step is one call of iterate")
        self._activate()
        seed = self.source.step_seed(self.t)
        if taped is not None and taped.seed != seed:
            raise ZobenchError(f"step {self.t} of the log has seed {taped.seed}, this estimator {seed}: not its log")
        self._keep(_step_seed=seed, _drawn=0)
        self._held_labels.clear()
        self._made.clear()
        self._keep(_confined=None)
        self.unchecked.clear()
        rates = tuple(float(g["lr"]) for g in self.param_groups)
        logged = StepLog(self.t, seed, rates, settled=self.settled_outside)
        device = self.handles[0].param.device
        tape = iter([v.to(device) for v in taped.seen]) if taped is not None else None
        self._keep(_in_step=True, settled_outside=False)
        self.timers.start_step()
        try:
            losses = Losses(self, closure, logged, tape)
            self._keep(_losses=losses)
            shown = to_show(self, self.iterate(losses))
            if self._family is not None and not self._asked_family:
                raise ZobenchError(never_asked(type(self)))
            if isinstance(shown, Tensor) and tape is None and not any(shown is seen for seen in logged.seen):
                self.unchecked.append(shown.to(device))  # those that were seen are, or will be, looked at as such
            self._check_finite()
            self.engine.end_step()
        except BaseException:
            self.engine.abandon()
            raise
        finally:
            self._keep(_in_step=False, _losses=None)
            self.timers.end_step()
        if shown is None and not logged.seen:
            raise TypeError(f"{type(self).__name__}.iterate looked at no loss and returned none")
        self.log.append(logged)
        self._keep(t=logged.step + 1)
        return shown if shown is not None else logged.seen[0]

    def _activate(self) -> None:
        """Find the tensors of this step and their masks; what a deferring engine still owes is paid before."""
        on = self.scope.active(self.t)
        active = [p for p in self.handles if (self._all_move or p.param.requires_grad) and on(p.name)]
        if not active:
            why = (
                "the scope's schedule leaves none"
                if self._all_move
                else "none requires grad; pass a Scope to move them"
            )
            raise ZobenchError(f"no parameter may move in step {self.t}: {why}")
        masks = [self.scope.mask(p, self.t) for p in active]
        if active != self.active or any(m is not p.mask for p, m in zip(active, masks, strict=True)):
            self.engine.settle()
            for p in self.active:
                p.mask = None
            for i, (p, m) in enumerate(zip(active, masks, strict=True)):
                p.index, p.mask = i, m
            self._keep(active=active, space=self._space_of(active))
        self.engine.attach(active)

    def _space_of(self, active: list[Handle]) -> Space:
        """The shapes met on these tensors so far; of a schedule's many sets of tensors only the last few are kept."""
        names = tuple(p.name for p in active)
        if names not in self._spaces:
            if len(self._spaces) > 64:
                self._spaces.clear()
            self._spaces[names] = Space(active)
        return self._spaces[names]
