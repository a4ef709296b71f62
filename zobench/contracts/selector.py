"""The contract of selectors: from a model and calibration batches to the scope that may move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ..errors import ZobenchError
from ..reserved import class_fault
from ..settings import resolve

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.blocks import Block
    from ..models.load import LoadedModel
    from ..scopes.scope import Scope
    from ..tasks.batch import Batch


@dataclass(frozen=True)
class ProbeResult:
    """What a short fine-tuning run of a scope gave on dev: lower loss is better; metric as the task's (0 to 1)."""

    dev_loss: float
    n: int
    forwards: int
    dev_metric: float | None = None  # only where it was asked for
    stderr: float | None = None


class SelectionContext(Protocol):
    """What a selector may look at. There is no way from here to a test item."""

    loaded: LoadedModel
    """The model, at its untouched weights."""
    seed: int
    """The cell's: of the order of the batches and of directions."""

    @property
    def blocks(self) -> Sequence[Block]:
        """The decoder blocks in order, 0-based."""

    def calibration(self, batches: int, batch_size: int) -> list[Batch]:
        """Batches from the training split, in the training order of `seed`, padded as in training."""

    def loss(self, batch: Batch) -> Tensor:
        """The task's training loss of a batch at the weights as they are, 0-dim: one forward, counted as calibration.

        For selectors that displace weights or hook modules themselves; both must be undone before `select` returns.
        """

    def count(self, purpose: str, forwards: int) -> None:
        """Add forward passes to the record under `purpose` (calibration or probe)."""

    def note(self, **facts: Any) -> None:
        """Put facts that explain the choice into the record, under `selection`."""

    def everything(self) -> Scope:
        """All parameters of the model."""

    def layers(self, *indices: int) -> Scope:
        """All parameters of these decoder blocks. Raises ZobenchError for an index the model does not have."""

    def probe(self, scope: Scope, steps: int, lr: float | None = None, *, metric: bool = False) -> ProbeResult:
        """Fine-tune `scope` for `steps` steps with the cell's own estimator, evaluate on dev, and undo it.

        `lr` None: the first value of the cell's learning-rate grid. With `metric` the task's metric on dev is
        computed too, at the price of its forwards. All of them are counted as `probe`.
        """


class Selector:
    """Base of all selectors. Annotated attributes are settings (see zobench.settings).

        class EveryOther(Selector):
            start: Natural = 0

            def select(self, context: SelectionContext) -> Scope:
                return context.layers(*range(self.start, len(context.blocks), 2))

    Raises ZobenchError for a setting that is unknown, cannot be read, or is out of its range.
    """

    # facts for the card, the command line and zobench.testing.check_selector
    reference: ClassVar[str] = ""  # paper and section
    public_code: ClassVar[str] = ""  # where, its licence, and what is wrong with it, in a line
    verified: ClassVar[bool | None] = None  # True: no detail is a guess; False: one is, as the class's description says
    argument: ClassVar[str] = ""  # the setting that a value after a colon is for: `layer:30`
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # by preset: settings that take less there
    turns: ClassVar[bool] = False  # True: what it chooses changes with the step
    numerics: ClassVar[int] = (
        1  # raised by one when what a built-in selector chooses changes: its cells then are others
    )
    exercise: ClassVar[Mapping[str, Any]] = {}  # settings for the checks: enough to choose something, and quickly
    planted: ClassVar[Mapping[str, int]] = {}  # planted models whose block it finds, and the first index it can find

    def __init__(self, **settings: object) -> None:
        if wrong := class_fault("selectors", type(self), Selector):
            raise ZobenchError(wrong)
        self.settings: Mapping[str, Any] = resolve(type(self), settings)
        for name, value in self.settings.items():
            setattr(self, name, value)

    def check(self, blocks: int) -> None:
        """Raise ZobenchError, before anything runs, for settings that a model of so many decoder blocks cannot have."""

    def select(self, context: SelectionContext) -> Scope:
        """The scope that may move. Deterministic given the context; may call context.probe."""
        raise NotImplementedError

    def expected_forwards(self, blocks: int, step: int, dev: int) -> int:
        """The forward passes that selecting takes, for `--dry-run`, in a model of so many decoder blocks.

        `step` is the number of forwards of one training step, `dev` that of one dev evaluation.
        """
        return 0
