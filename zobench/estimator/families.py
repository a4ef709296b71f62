"""Direction families: what an estimator perturbs along instead of its own noise (`--set directions=lozo`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from torch import Tensor

from ..directions.algebra import Algebra, Direction
from ..directions.buffer import Buffer
from ..directions.handle import Handle
from ..directions.noise.source import Noise, NoiseSource, mix
from ..directions.shapes import Shapes
from ..errors import ZobenchError
from ..reserved import class_fault
from ..settings import resolve, settings_of

if TYPE_CHECKING:
    from ..contracts.planned import Planned

Where = Callable[[Handle], bool]
ShapeOf = Callable[[Handle], tuple[int, ...]]

SETTINGS = "directions."
"""Prefix of the settings of a family, among those of the estimator that uses it."""


class Directions:
    """Base of direction families: annotate settings, and write in `draw` how one direction is made.

        class Signs(Directions):
            scale: Positive = 1.0

            def draw(self, of: Draws) -> Direction:
                return self.scale * of.noise("rademacher")

    An estimator that is given a family looks along its directions wherever it asks for plain noise: `self.noise()`,
    with no `shape`, `every` or `label`. All that a family keeps between steps is a function of seeds, or lies in
    `of.buffer(...)`. Raises ZobenchError for a setting that is unknown, cannot be read, or is out of its range.
    """

    # facts for the card and the checks
    reference: ClassVar[str] = ""  # paper and section
    public_code: ClassVar[str] = ""  # where, its licence, and what is wrong with it, in a line
    verified: ClassVar[bool | None] = None  # True: no detail is a guess; False: one is, as the class's description says
    forwards_per_step: ClassVar[int] = 0  # that drawing takes, beside the estimator's own, however many directions
    forwards_per_direction: ClassVar[int] = 0  # that drawing each direction takes
    extra_forwards_per_step: ClassVar[float] = 0.0  # likewise a step, on further batches (`losses.fresh()`)
    recalled: ClassVar[bool] = True  # False: a direction of an earlier step cannot be drawn again
    replays: ClassVar[bool] = True  # False: a step sees more than scalars, which no log holds
    exercise: ClassVar[Mapping[str, Any]] = {}  # settings that bring its rare events into a few steps of the checks
    numerics: ClassVar[int] = 1  # raised by one when a built-in family's directions change: its cells then are others
    numerics_where: ClassVar[Mapping[str, Any]] = {}  # settings without which that changed no number

    @classmethod
    def check(cls, settings: Mapping[str, Any], planned: Planned) -> None:
        """Raise ZobenchError, before anything runs, for what cannot work: these settings, this task, this model."""

    def __init__(self, **settings: object) -> None:
        if wrong := class_fault("directions", type(self), Directions):
            raise ZobenchError(wrong)
        for name, value in resolve(type(self), settings).items():
            setattr(self, name, value)

    def draw(self, of: Draws) -> Direction:
        """One new direction, of the scope's shapes, where `of` may draw."""
        raise NotImplementedError(f"{type(self).__name__} has no draw(self, of)")

    def state_of(self, shape: tuple[int, ...]) -> float:
        """Numbers that the family keeps between steps for a tensor of this shape."""
        return 0.0


class DrawnFor(Protocol):
    """What a family needs of the estimator that it draws directions for."""

    t: int
    seed: int
    active: list[Handle]
    source: NoiseSource

    def _next_seed(self) -> int:
        """The seed of the next new draw of the step."""

    def _shapes_on(self, shape: ShapeOf | None, on: Where | None) -> Shapes:
        """The shapes of a draw."""

    def _claim(self, label: str) -> None:
        """A draw is held under this label."""

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives the first time in a step."""

    def _losses_of_step(self) -> Any:
        """The losses of the step's batch."""

    def each(self, *ds: Algebra) -> Iterator[tuple[Any, ...]]:
        """Tensor by tensor."""

    def compute(self, fn: Callable[[Handle], Tensor], on: Where | None = None, name: str = "t") -> Buffer:
        """`fn` of every tensor, at theta."""

    def buffer(
        self,
        name: str,
        init: float | Callable[[Handle], Tensor] = 0.0,
        *,
        shape: ShapeOf | None = None,
        on: Where | None = None,
    ) -> Buffer:
        """State, the same one each time."""


class Draws:
    """What a family draws with: the noise, the buffers and the weights of the estimator that it draws for.

    Attributes:
        t: the step that the direction is of: the estimator's, or an earlier one that is drawn again.
    """

    def __init__(self, estimator: DrawnFor, on: Where | None, ago: int) -> None:
        self._estimator, self._on, self._ago, self._count = estimator, on, ago, 0
        self.t = estimator.t - ago

    @property
    def active(self) -> list[Handle]:
        """The tensors that directions are wanted on."""
        return [p for p in self._estimator.active if self._on is None or self._on(p)]

    @property
    def losses(self) -> Any:
        """The losses of the step's batch (zobench.Losses): for families that look before they draw."""
        return self._estimator._losses_of_step()

    def noise(
        self,
        kind: str = "gaussian",
        *,
        shape: ShapeOf | None = None,
        on: Where | None = None,
        every: int = 0,
        label: str = "z",
    ) -> Direction:
        """Noise, as an estimator's `noise`. Draws with the same label in one step are the same draw."""
        est, where = self._estimator, self._both(on)
        if every:
            est._claim(label)
            seed = mix(est.seed, "held", label, self.t // every)
            shapes = est._shapes_on(shape, where)
            node = est._once(f"{seed} {kind} {id(shapes)}", lambda: Noise(seed, kind, est.source, shapes, label))
            return Direction({node: 1.0}, shapes)
        if self._ago:
            self._count += 1
            seed = est.source.step_seed(self.t)
            seed = seed if self._count == 1 else mix(seed, self._count)
        else:
            seed = est._next_seed()
        shapes = est._shapes_on(shape, where)
        return Direction({Noise(seed, kind, est.source, shapes, label): 1.0}, shapes)

    def buffer(
        self,
        name: str,
        init: float | Callable[[Handle], Tensor] = 0.0,
        *,
        shape: ShapeOf | None = None,
        on: Where | None = None,
    ) -> Buffer:
        """State, as an estimator's `buffer`: the same buffer at every call, under a name that is the family's own."""
        return self._estimator.buffer(f"directions.{name}", init, shape=shape, on=on)

    def compute(self, fn: Callable[[Handle], Tensor], on: Where | None = None, name: str = "t") -> Buffer:
        """fn(p) for every tensor, at theta."""
        return self._estimator.compute(fn, self._both(on), name)

    def each(self, *ds: Algebra) -> Iterator[tuple[Any, ...]]:
        """`for p, a in of.each(d)`: one tensor at a time, computed."""
        return self._estimator.each(*ds)

    def everywhere(self) -> Draws:
        """The same, for directions on all tensors of the step, also where the estimator asked for some tensors only."""
        return Draws(self._estimator, None, self._ago)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """The result of `make`, computed at the first direction of a step and reused for its other directions."""
        return self._estimator._once(name, make)

    def _both(self, on: Where | None) -> Where | None:
        mine = self._on
        if mine is None or on is None:
            return on if mine is None else mine
        return lambda p: mine(p) and on(p)


def family_of(estimator: Any) -> Directions | None:
    """The direction family of an estimator, with its settings; None if the estimator uses its own noise."""
    cls: type[Directions] | None = type(estimator).family
    return None if cls is None else cls(**{key: getattr(estimator, f"{SETTINGS}{key}") for key in settings_of(cls)})


def never_asked(cls: type) -> str:
    """The error for an estimator that was given a family but never asks for plain noise."""
    return (
        f"{cls.__name__} asked for no plain noise in a step, so that its directions change nothing: of a method that "
        "looks along other noise say so by own_directions = 'why', or draw self.noise() there"
    )
