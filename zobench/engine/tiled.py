"""One forward of a model over several copies of a batch, side by side along the first axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, TypeAlias

from torch import Tensor, nn

from ..errors import ZobenchError

Loss: TypeAlias = Callable[[Callable[..., Any], Any], Tensor]
"""`loss(forward, batch)` -> 0-dim tensor, where `forward(...)` behaves like calling the model."""


def tiled(model: nn.Module, copies: int, loss: Loss, given: Any) -> list[Tensor]:
    """`loss(forward, given)` for so many copies of what it gives the forward, in one call of the model.

    ZobenchError for a loss that calls it more than once.
    """
    forward = _Tiled(model, copies)
    return [loss(forward.of(i), given) for i in range(copies)]


class _Tiled:
    """A model called once, on as many copies of what it is given, and what it puts out for each of them."""

    def __init__(self, model: nn.Module, copies: int) -> None:
        self.model, self.copies = model, copies
        self._logits: Sequence[Tensor] = ()
        self._plain = False

    def of(self, copy: int) -> Callable[..., Any]:
        """The forward of one copy: the first that is called calls the model, for all."""
        left = iter(range(1))

        def forward(*args: Any, **kwargs: Any) -> Any:
            if next(left, None) is None:
                raise ZobenchError("this loss calls the model more than once, which cannot be tiled: use engine=flat")
            if not self._logits:
                self._call(args, kwargs)
            part = self._logits[copy]
            return part if self._plain else SimpleNamespace(logits=part)

        return forward

    def _call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        out = self.model(*map(self._tile, args), **{name: self._tile(x) for name, x in kwargs.items()})
        self._plain = isinstance(out, Tensor)
        logits = out if self._plain else out.logits
        self._logits = logits.chunk(self.copies)

    def _tile(self, x: Any) -> Any:
        return x.repeat(self.copies, *[1] * (x.ndim - 1)) if isinstance(x, Tensor) and x.ndim else x
