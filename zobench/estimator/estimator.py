"""The estimator: a torch.optim.Optimizer whose algorithm is written over lazy directions."""

from __future__ import annotations

import inspect
import math
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ..directions.algebra import Direction
from ..directions.buffer import Buffer
from ..directions.handle import Handle
from ..directions.noise import build_source
from ..engine import build as build_engine
from ..engine.base import Engine
from ..errors import ZobenchError
from ..reserved import class_fault, kept, shown
from ..scopes.scope import Scope
from ..settings import resolve
from ..timers import Timers
from . import state
from .families import Directions, family_of
from .log import StepLog
from .stepping import Stepping
from .vocabulary import Diverged

if TYPE_CHECKING:
    from ..contracts.planned import Planned
    from ..tasks.questions import Answers, FitContext

__all__ = ["Diverged", "Estimator"]


class Estimator(Stepping, torch.optim.Optimizer):
    """Base of all estimators: annotate settings, write `iterate` as the paper's box has it, declare state in `setup`.

        class MeZO(Estimator):
            eps: Positive = 1e-3

            def iterate(self, losses):
                z = self.noise()
                lp, lm = losses(+self.eps * z, -self.eps * z)
                self.descend((lp - lm) / (2 * self.eps) * z)
                return lp

    Args:
        params: a Scope (moved whatever its requires_grad), or what torch.optim takes: parameters, (name, parameter)
            pairs, or groups of them with their own lr and weight_decay; of these, those that require grad move.
        lr: of every group that has none of its own.
        weight_decay: likewise. MeZO's: coupled, scaled by lr, not for names with bias, layer_norm or layernorm.
        engine: how losses are computed: official, official_fused, flat, deferred, pair, streamed (docs/engine.md has
            what each takes). deferred and streamed owe a move between steps: for a loop that calls `settle` before
            it reads weights.
        noise: per_tensor, official (MeZO's single stream; not with streamed), or philox (drawn where it is added).
        restore: exact (copies of the scope; weights come back bit for bit) or arithmetic (as MeZO's). official and
            official_fused are always arithmetic, pair and streamed always exact; `estimator.engine.restore` says
            what holds.
        precision: native, or float32 (a float32 master of the scope; not with official or official_fused).
        seed: of the noise.
        check_finite: raise Diverged on a loss that is not finite (waits for the device once a step).
        settings: see zobench.settings. ZobenchError for an unknown one or one out of range.

    Attributes:
        t: steps done.
        active: handles of the tensors that move in this step.
        forwards: Counter of "train", "extra" (and "backward").
        log: a StepLog per step; may be cleared when written.
        timers: see zobench.timers.

    These and all names that the core has here are its own: assigning to one raises AttributeError.
    """

    _built: bool

    trains: ClassVar[bool] = True
    parameterisation: ClassVar[str] = "full"
    scored_by: ClassVar[tuple[str, ...]] = ()  # its settings that stand for the protocol's where it is scored

    # facts for the card, the run and zobench.testing.check_estimator
    reference: ClassVar[str] = ""  # paper and algorithm
    public_code: ClassVar[str] = ""  # where, its licence, and what is wrong with it, in a line
    verified: ClassVar[bool | None] = None  # True: no detail is a guess; False: one is, as the class's description says
    forwards_per_step: ClassVar[int | None] = None  # at the default settings; None: it varies
    extra_forwards_per_step: ClassVar[float] = 0.0  # likewise, of those on further batches (`losses.fresh()`)
    directions_per_step: ClassVar[int | None] = 1  # plain `noise()`, at the default settings; None: it varies
    recalls: ClassVar[bool] = False  # True: it draws directions of earlier steps again, `noise(ago=k)`
    state_per_parameter: ClassVar[float] = 0.0  # numbers kept for each parameter between steps
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 5e-7, 1e-6, 5e-6)  # what the paper tunes over
    small_lrs: ClassVar[tuple[float, ...]] = (1e-4, 5e-4)  # where a run is no paper run: starting points, to be widened
    neutral: ClassVar[Mapping[str, Any] | None] = None  # settings with which the method is MeZO
    needs: ClassVar[Mapping[str, Any]] = {}  # settings that the user must give, with what zobench.testing gives
    exercise: ClassVar[Mapping[str, Any]] = {}  # settings that bring its rare events into a few steps
    moves_along_looks: ClassVar[bool] = True  # False: it moves through state or signs
    differentiates: ClassVar[bool] = False  # True: it takes gradients or derivatives of the loss
    numerics: ClassVar[int] = 1  # raised by one when a built-in method's numbers change: its cells then are others
    numerics_where: ClassVar[Mapping[str, Any]] = {}  # settings without which that changed no number
    own_directions: ClassVar[str] = ""  # why directions of a family cannot take the place of its own; empty: they can
    around: ClassVar[type[Estimator] | None] = None  # what lays this method around another one's step: `dizo+fzoo`
    family: ClassVar[type[Directions] | None] = None  # of an estimator that was given one (zobench.plugins.along)

    @classmethod
    def check(cls, settings: Mapping[str, Any], planned: Planned) -> None:
        """Raise ZobenchError, before anything runs, for what cannot work: these settings, this task, this model.

        A subclass that has more to refuse does so after `super().check(settings, planned)`.
        """
        if cls.differentiates and planned.loss == "non_diff":
            raise ZobenchError(
                f"{cls.__name__} takes derivatives of the loss, and train_loss=non_diff has none: choose another loss"
            )

    def __init__(
        self,
        params: Scope | Iterable[Any],
        lr: float,
        weight_decay: float = 0.0,
        *,
        engine: str | Engine = "flat",
        noise: str = "per_tensor",
        restore: str = "exact",
        precision: str = "native",
        seed: int = 0,
        check_finite: bool = True,
        **settings: object,
    ) -> None:
        if wrong := class_fault("estimators", type(self), Estimator):
            raise ZobenchError(wrong)
        for name, value in resolve(type(self), settings).items():
            setattr(self, name, value)
        self._family = family_of(self)
        if lr < 0 or weight_decay < 0:
            raise ZobenchError(f"lr={lr}, weight_decay={weight_decay}: neither may be negative")
        given = params if isinstance(params, Scope) else None
        super().__init__(given.named if given is not None else params, {"lr": lr, "weight_decay": weight_decay})  # type: ignore[arg-type]
        self._all_move = given is not None
        self.handles = self._make_handles()
        self.scope = given or Scope((p.name, p.param) for p in self.handles)
        self.timers = Timers(self.handles[0].param.device)
        self.engine: Engine = build_engine(engine, restore, precision) if isinstance(engine, str) else engine
        self.engine.timers = self.timers
        self.source, self.seed, self.check_finite = build_source(noise, seed), seed, check_finite
        self.t = 0
        self.forwards = Counter()
        self.log = []
        self.unchecked: list[Tensor] = []
        self.looked: Callable[[Direction], None] | None = None
        self.buffers: dict[str, Buffer] = {}
        self.unclaimed: dict[str, dict[str, Tensor]] = {}  # loaded state of buffers not declared yet
        self._spaces = {}
        self._in_step = self.settled_outside = False
        self._step_seed, self._drawn, self._held_labels = 0, 0, set[str]()
        self._asked_family, self._made, self._losses, self._confined = False, dict[str, Any](), None, None
        self.active: list[Handle] = []
        self._activate()
        self._built = True
        self.setup()

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute of the method's own; AttributeError for one of the core's, which a step depends on."""
        if (
            name in kept("estimators", Estimator)
            and "_built" in vars(self)
            and not (name == "step" and callable(value))
        ):
            raise AttributeError(
                f"{type(self).__name__}: self.{name} is zobench's own, to be read; give yours another name "
                f"(kept: {', '.join(shown('estimators', Estimator))})"
            )
        super().__setattr__(name, value)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's optimizers: itself, without what keeps it from being compiled, which imports torch's compiler."""
        inspect.unwrap(torch.optim.Optimizer.add_param_group)(self, param_group)

    def _make_handles(self) -> list[Handle]:
        me = weakref.ref(self)  # weak: no cycle may keep tensors alive

        def settle() -> None:
            owner = me()
            if owner is not None:
                owner.settle()

        handles: list[Handle] = []
        for g in self.param_groups:
            names = g.get("param_names") or [f"p{len(handles) + i}" for i in range(len(g["params"]))]
            handles += [Handle(n, p, g, settle=settle) for n, p in zip(names, g["params"], strict=True)]
        return handles

    # ---- what an author writes

    def setup(self) -> None:
        """Declare buffers. Called once, at the end of construction."""

    def state_of(self, shape: tuple[int, ...]) -> float:
        """Numbers kept between steps for a tensor of this shape: `state_per_parameter` for each of its entries.

        A method whose state has other sizes (low-rank factors) says here what they are.
        """
        return self.state_per_parameter * math.prod(shape)

    def fit(self, context: FitContext) -> Answers | None:
        """For a reference (`trains` False): learn from examples how to answer questions, by forward passes.

        Called once a cell. What it returns is given questions of dev and test, a few at a time, and returns the index
        of the candidate it chooses for each. None: the model itself is scored. Raise ZobenchError to refuse a task.
        """
        return None

    # ---- what a user calls

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """One step; the loss that `iterate` shows, 0-dim.

        The closure returns the loss of the step's batch at the present weights, 0-dim, and is called without
        gradients, as often as the method looks; zobench.Objective is one that offers more. Raises Diverged.
        """
        return self._step(closure, None)

    @torch.no_grad()
    def replay(self, log: Iterable[StepLog], *, settle: bool = True) -> None:
        """Run logged steps again without a forward: the same weights and state, bit for bit.

        settle=False: between two steps as a run is there, displaced if its engine leaves weights displaced: to go on.
        The estimator must stand where the log begins (same class, settings, engine and seed; weights and state of
        that step). Raises ZobenchError if it does not, or at a step that saw more than scalars.
        """
        for r in log:
            if r.step != self.t or len(r.lr) != len(self.param_groups):
                raise ZobenchError(f"the log goes on with step {r.step}, the estimator stands at step {self.t}")
            if r.wide:
                raise ZobenchError(
                    f"step {r.step} saw more than scalars: replay from a snapshot of the weights after it"
                )
            for g, lr in zip(self.param_groups, r.lr, strict=True):
                g["lr"] = lr
            if r.settled:
                self.settle()
            self._step(None, r)
        if settle:
            self.settle()

    # ---- saving

    def state_bytes(self) -> int:
        """Bytes of the method's state: its buffers and bases. Copies that the engine holds are in
        `engine.held_bytes()`.
        """
        kept: list[Tensor] = [v[1] for v in self.source.kept.values()]
        return sum(b.nbytes() for b in self.buffers.values()) + sum(int(x.nbytes) for x in kept)

    def state_dict(self) -> dict[str, Any]:
        """What is needed to go on, beside the weights, as plain numbers and copies of tensors.

        Calls `settle` first. `torch.load(..., weights_only=True)` can read it.
        """
        return state.saved(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state; load the weights first. ZobenchError if it is another estimator's."""
        state.load(self, state_dict)
