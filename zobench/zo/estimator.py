"""The estimator: a torch.optim.Optimizer whose algorithm is written over lazy directions."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..engine import build as build_engine
from ..engine.base import Engine
from ..engine.timers import Timers
from ..errors import ZobenchError, unknown
from ..settings import resolve
from .algebra import Algebra, Buffer, Direction, check_displaces
from .handle import Handle
from .log import StepLog
from .losses import Losses
from .nodes import Plan
from .noise import KINDS, Noise, build_source, mix
from .scope import Scope
from .shapes import Space

Where = Callable[[Handle], bool]
ShapeOf = Callable[[Handle], tuple[int, ...]]


class Diverged(ArithmeticError):
    """A loss was not finite. Raised from `step` before anything moved; the weights are theta of before the step."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(f"the loss of step {step} is {loss}")
        self.step, self.loss = step, loss

    def __reduce__(self) -> tuple[Any, ...]:
        return Diverged, (self.step, self.loss)


class Estimator(torch.optim.Optimizer):
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
        lr, weight_decay: of every group that has none of its own. Decay is MeZO's: coupled, scaled by lr, not for
            names with bias, layer_norm or layernorm.
        engine: how losses are computed: official, flat, deferred (inside a training loop that settles only), pair.
        noise: per_tensor, or official (MeZO's single stream).
        restore: exact (copies of the scope; weights come back bit for bit) or arithmetic (as MeZO's). `official` is
            always arithmetic and `pair` always exact; `estimator.engine.restore` says what holds.
        precision: native, or float32 (a float32 master of the scope; not with `official`).
        seed: of the noise.
        check_finite: raise Diverged on a loss that is not finite (waits for the device once a step).
        settings: see zobench.settings. ZobenchError for an unknown one or one out of range.

    Attributes:
        t: steps done. active: handles of the tensors that move in this step. forwards: Counter of "train", "extra"
        (and "backward"). log: a StepLog per step; may be cleared when written. timers: see zobench.engine.timers.
    """

    trains: ClassVar[bool] = True
    parameterisation: ClassVar[str] = "full"

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
        for name, value in resolve(type(self), settings).items():
            setattr(self, name, value)
        if lr < 0 or weight_decay < 0:
            raise ZobenchError(f"lr={lr}, weight_decay={weight_decay}: neither may be negative")
        given = params if isinstance(params, Scope) else None
        super().__init__(
            params.named if isinstance(params, Scope) else params, {"lr": lr, "weight_decay": weight_decay}
        )
        self._all_move = given is not None
        self.handles = self._make_handles()
        self.scope = given or Scope((p.name, p.param) for p in self.handles)
        self.timers = Timers(self.handles[0].param.device)
        self.engine: Engine = build_engine(engine, restore, precision) if isinstance(engine, str) else engine
        self.engine.timers = self.timers
        self.source, self.seed, self.check_finite = build_source(noise, seed), seed, check_finite
        self.t = 0
        self.forwards: Counter[str] = Counter()
        self.log: list[StepLog] = []
        self._unchecked: list[Tensor] = []
        self._buffers: dict[str, Buffer] = {}
        self._unclaimed: dict[str, dict[str, Tensor]] = {}  # loaded state of buffers not declared yet
        self._spaces: dict[tuple[str, ...], Space] = {}
        self._in_step = self._settled = False
        self._step_seed, self._drawn, self._held_labels = 0, 0, set[str]()
        self.active: list[Handle] = []
        self._activate()
        self.setup()

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

    def iterate(self, losses: Losses) -> Tensor | None:
        """One step of the algorithm. Returns the loss to be logged; None: the first one seen."""
        raise NotImplementedError(f"{type(self).__name__} has no iterate(self, losses)")

    # ---- the vocabulary

    def noise(
        self,
        kind: str = "gaussian",
        *,
        shape: ShapeOf | None = None,
        on: Where | None = None,
        every: int = 0,
        label: str = "z",
    ) -> Direction:
        """A new seeded direction: gaussian N(0, 1) or rademacher +-1 entries.

        shape: its shape on each tensor, if not the tensor's. on: the tensors where it has a value. every=k: the same
        draw for k steps, held under `label` (once a step for each label: TypeError otherwise).
        """
        if kind not in KINDS:
            raise ValueError(unknown("noise kind", kind, KINDS))
        if every:
            if label in self._held_labels:
                raise TypeError(f"two draws are held under the label {label!r} in one step: give each its own label=")
            self._held_labels.add(label)
            seed = mix(self.seed, "held", label, self.t // every)
        else:
            self._drawn += 1
            seed = self._step_seed if self._drawn == 1 else mix(self._step_seed, self._drawn)
        shapes = self.space.whole
        if shape is not None or on is not None:
            chosen = (p for p in self.active if on is None or on(p))
            shapes = self.space.make({p.name: tuple(shape(p) if shape else p.shape) for p in chosen})
        return Direction({Noise(seed, kind, self.source, shapes, label): 1.0}, shapes)

    def buffer(
        self,
        name: str,
        init: float | Callable[[Handle], Tensor] = 0.0,
        *,
        shape: ShapeOf | None = None,
        on: Where | None = None,
    ) -> Buffer:
        """State per tensor, float32 or wider, allocated on first use and saved in state_dict; the same one each time.

        init: a number, or a function of the handle (which may read `p.data`). shape: if not the tensor's. on: the
        tensors that have one.
        """
        if name not in self._buffers:
            self._buffers[name] = Buffer(name, self, init, shape, on)
            self._buffers[name].store = self._unclaimed.pop(name, {})
        return self._buffers[name]

    def compute(self, fn: Callable[[Handle], Tensor], on: Where | None = None, name: str = "t") -> Buffer:
        """fn(p) for every tensor, now, at theta: the only way weights enter the algebra. A buffer of this step."""
        self.settle()
        with self.timers.part("update"):
            return Buffer(name, self, values={p.name: fn(p) for p in self.active if on is None or on(p)})

    def freeze(self, d: Algebra, name: str = "t") -> Buffer:
        """The values of `d` now, held: a buffer of this step that may be assigned to."""
        bare = d.lin().bare()
        return Buffer(name, self, values={p.name: v.clone() if bare else v for p, v in self.each(d)})

    def each(self, *ds: Algebra) -> Iterator[tuple[Any, ...]]:
        """`for p, a, b in self.each(d1, d2)`: one tensor at a time, computed, with the weights at theta.

        A value is None where its direction has none. Masked entries are 0; the tensor of a plain buffer is the
        buffer's own, unmasked, and may be changed in place.
        """
        self.settle()
        lines = [self._ready(d.lin()) for d in ds]
        plan = Plan(*lines)
        for p in self.active:
            values = plan.on(p)
            if any(v is not None for v in values):
                yield p, *(v if v is None or d.bare() else _unmasked(p, v) for d, v in zip(lines, values, strict=True))

    def move(self, delta: Algebra) -> None:
        """Make the move theta <- theta + delta."""
        self.engine.move(self._checked(delta, "move along"))

    def descend(self, grad: Algebra) -> None:
        """Make the move theta <- theta - lr * (grad + weight_decay * theta); lr, weight_decay: the group's."""
        self.engine.descend(self._checked(grad, "descend along"))

    def descent(self, grad: Algebra) -> Direction:
        """-lr * grad as a point: to look there before going. Without weight decay."""
        rates = {float(g["lr"]) for g in self.param_groups}
        if len(rates) == 1:
            return grad * -rates.pop()
        values = {
            p.name: torch.tensor(-float(p.group["lr"]), dtype=p.dtype, device=p.param.device) for p in self.active
        }
        return grad * Buffer("-lr", self, values=values)

    def settle(self) -> None:
        """From here on the parameters hold theta (before an evaluation or a checkpoint; methods rarely need it)."""
        if not self._in_step:
            self._settled = True
        self.engine.settle()

    # ---- what a user calls

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """One step; the loss that `iterate` shows, 0-dim.

        The closure returns the loss of the step's batch at the present weights, 0-dim, and is called without
        gradients, as often as the method looks; zobench.Objective is one that offers more. Raises Diverged.
        """
        return self._step(closure, None)

    @torch.no_grad()
    def replay(self, log: Iterable[StepLog]) -> None:
        """Run logged steps again without a forward: the same weights and state, bit for bit.

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
        self.settle()

    def _step(self, closure: Callable[[], Tensor] | None, taped: StepLog | None) -> Tensor:
        self._activate()
        seed = self.source.step_seed(self.t)
        if taped is not None and taped.seed != seed:
            raise ZobenchError(f"step {self.t} of the log has seed {taped.seed}, this estimator {seed}: not its log")
        self._step_seed, self._drawn = seed, 0
        self._held_labels.clear()
        self._unchecked.clear()
        rates = tuple(float(g["lr"]) for g in self.param_groups)
        record = StepLog(self.t, seed, rates, settled=self._settled)
        device = self.handles[0].param.device
        tape = iter([v.to(device) for v in taped.seen]) if taped is not None else None
        self._in_step, self._settled = True, False
        self.timers.start_step()
        try:
            shown = self.iterate(Losses(self, closure, record, tape))
            self._check_finite()
            self.engine.end_step()
        except BaseException:
            self.engine.settle()
            raise
        finally:
            self._in_step = False
            self.timers.end_step()
        if shown is None and not record.seen:
            raise TypeError(f"{type(self).__name__}.iterate looked at no loss and returned none")
        self.log.append(record)
        self.t += 1
        return shown if shown is not None else record.seen[0]

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
            self.active = active
            names = tuple(p.name for p in active)
            if names not in self._spaces:
                self._spaces = (
                    {names: Space(active)} if len(self._spaces) > 64 else {**self._spaces, names: Space(active)}
                )
            self.space = self._spaces[names]
        self.engine.attach(active)

    def _checked(self, d: object, verb: str) -> Direction:
        """A move made ready; TypeError if it is none, ValueError for wrong shapes, Diverged for losses not finite."""
        if not isinstance(d, Algebra):
            raise TypeError(f"{type(self).__name__} can only {verb} a direction such as g * z, got {type(d).__name__}")
        check_displaces(d.lin(), self.active, verb)
        self._check_finite()
        return self._ready(d.lin())

    def _ready(self, d: Direction) -> Direction:
        """Allocate the buffers `d` is made of before a sweep starts: an init function may read the weights."""
        for n in d.nodes():
            if isinstance(n, Buffer):
                n.allocate(self.active)
        return d

    def _before_assign(self, buffer: Buffer, d: Direction) -> None:
        self._check_finite()
        self._ready(d)
        self.engine.before_write(buffer)

    def _check_finite(self) -> None:
        """Diverged if a loss seen since the last call is not finite."""
        seen, self._unchecked = self._unchecked, []
        if self.check_finite and seen:
            values = torch.stack([v.to(torch.float32) for v in seen])
            if not bool(values.isfinite().all()):
                raise Diverged(self.t, float(values[~values.isfinite()][0]))

    # ---- saving

    def state_bytes(self) -> int:
        """Bytes of the method's state: its buffers and cached bases. What the engine holds is `engine.held_bytes()`."""
        kept: list[Tensor] = [v[1] for v in self.source.kept.values()]
        return sum(b.nbytes() for b in self._buffers.values()) + sum(x.numel() * x.element_size() for x in kept)

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on, beside the weights: plain numbers and tensors (copies). Settles first."""
        self.settle()
        return {
            "estimator": type(self).__name__,
            "t": self.t,
            "seed": self.seed,
            "noise": {"name": self.source.name, **self.source.state()},
            "forwards": dict(self.forwards),
            "param_groups": [{k: v for k, v in g.items() if k != "params"} for g in self.param_groups],
            "buffers": {b.name: {n: x.clone() for n, x in b.store.items()} for b in self._buffers.values()},
            "masters": {p.name: p.master.clone() for p in self.handles if p.master is not None},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state; load the weights first. ZobenchError if it is another estimator's."""
        s = state_dict
        mine = {"estimator": type(self).__name__, "noise": self.source.name, "groups": len(self.param_groups)}
        theirs = {"estimator": s["estimator"], "noise": s["noise"]["name"], "groups": len(s["param_groups"])}
        for what, value in mine.items():
            if theirs[what] != value:
                raise ZobenchError(f"the saved state has {what} {theirs[what]!r}, this estimator {value!r}")
        self.engine.settle()
        self.t, self.seed, self.forwards = s["t"], s["seed"], Counter(s["forwards"])
        self.source.seed = self.seed
        self.source.load_state(s["noise"])
        for g, saved in zip(self.param_groups, s["param_groups"], strict=True):
            g.update(saved)
        devices = {p.name: p.param.device for p in self.handles}
        for name, store in s["buffers"].items():
            values = {n: x.to(devices[n], copy=True) for n, x in store.items()}
            if name in self._buffers:
                self._buffers[name].load(values)
            else:
                self._unclaimed[name] = values
        self.engine.load_masters(self.handles, s["masters"])
        self._settled = True


def _unmasked(p: Handle, v: Tensor) -> Tensor:
    """`v` with 0 where the mask of `p` forbids moving."""
    return v if p.mask is None or v.shape != p.shape else torch.where(p.mask, v, 0.0)
