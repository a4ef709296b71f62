"""The contract of transforms: a change of the stream that a decoder block puts out, for as long as a cell runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import ZobenchError
from ..reserved import class_fault
from ..settings import resolve

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.massive import MassiveActivation


class Transform:
    """Base of all transforms. Annotated attributes are settings, which all are said, in their order: `name:1:17:0.5`.

        class Silence(Transform):
            block: Natural = 0
            channel: Natural = 0

            def output(self, stream: Tensor, first: Tensor) -> Tensor:
                keep = torch.arange(stream.shape[-1], device=stream.device) != self.channel
                return stream * keep

    A cell whose protocol names it trains and is scored on the model with it: `--set transform=silence:1:17`.
    A setting `block` says of which decoder block, 0-based. Raises ZobenchError where there is none, and for a setting
    that is unknown, cannot be read, or is out of its range.
    """

    automatic: ClassVar[tuple[str, ...] | None] = None
    """The settings that are still said in a form where the model's massive activation says the others (`plant:4:auto`);
    None: there is no such form."""

    def __init__(self, **settings: object) -> None:
        if wrong := class_fault("transforms", type(self), Transform):
            raise ZobenchError(wrong)
        self.settings: Mapping[str, Any] = resolve(type(self), settings)
        for name, value in self.settings.items():
            setattr(self, name, value)
        if not isinstance(self.settings.get("block"), int):
            raise ZobenchError(f"{type(self).__name__}: a transform has a setting `block: Natural = 0`")

    @classmethod
    def of_massive(cls, found: MassiveActivation, until: int | None, **said: Any) -> Sequence[Transform]:
        """What stands for the automatic form. said: the settings `automatic`.

        found: the model's massive activation on training examples of the task. until: the block where another term of
        the same setting plants it anew; None: nowhere. Raises ZobenchError where it cannot be had.
        """
        raise NotImplementedError

    @property
    def at(self) -> int:
        """The decoder block whose output it changes."""
        return int(self.settings["block"])

    def check(self, blocks: int, channels: int) -> None:
        """Raise ZobenchError, before anything runs, for settings that a model cannot have.

        blocks: how many decoder blocks it has. channels: of the stream between them.
        """

    def output(self, stream: Tensor, first: Tensor) -> Tensor:
        """What the block puts out instead of `stream`.

        stream: (rows, length, channels), in the dtype that the model computes in; not to be changed in place.
        first: bool (rows, length), the first token of each text.

        The same tensor where applied twice: what is kept of a forward passes through it again. It must be a function of
        a token's own stream, and one that gradients can pass.
        """
        raise NotImplementedError
