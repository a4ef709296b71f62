"""Forwards of a model that begin at one of its decoder blocks: what would enter the block is given, not computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ..errors import ZobenchError
from ..forwards import replaced
from .blocks import Block


class Cut:
    """A model cut below block `at` (0-based, at least 1).

    `seen` watches what enters the block, `given` puts other hidden states there and leaves out the blocks below, whose
    modules stay in place: models that ask a block for more than its forward still find it. Embeddings are still looked
    up, and masks and rotary angles made, by the model's own code.
    """

    def __init__(self, blocks: Sequence[Block], at: int) -> None:
        if not 1 <= at < len(blocks):
            raise ValueError(f"a cut below block {at} of {len(blocks)}: there must be blocks on both sides")
        self.at = at
        self._below = [block.module for block in blocks[:at]]
        self._block = blocks[at].module
        self._in_tuple = False

    @contextmanager
    def seen(self) -> Iterator[list[Tensor]]:
        """Inside, each forward adds to the list what enters the block: hidden states, (rows, length, hidden), detached.

        ZobenchError where the block is not given them as its first argument, or as `hidden_states`.
        """
        found: list[Tensor] = []

        def watch(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            entering = args[0] if args else kwargs.get("hidden_states")
            if not isinstance(entering, Tensor):
                raise ZobenchError(f"{type(module).__name__} is not given hidden states: set prefix_cache=off")
            found.append(entering.detach())

        def form(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            self._in_tuple = isinstance(output, tuple)

        hooks = (
            self._block.register_forward_pre_hook(watch, with_kwargs=True),
            self._below[-1].register_forward_hook(form),
        )
        try:
            yield found
        finally:
            for hook in hooks:
                hook.remove()

    @contextmanager
    def given(self, hidden: Callable[[], Tensor]) -> Iterator[None]:
        """Inside, what `hidden` makes enters the block; in a forward over several copies of its rows, for each copy.

        It is called once a forward. A forward must have been `seen` before.
        """
        last = self._below[-1]
        with replaced({module: self._putting_out(hidden if module is last else None) for module in self._below}):
            yield

    def _putting_out(self, hidden: Callable[[], Tensor] | None) -> Callable[..., Any]:
        """A block's forward that puts out these hidden states whatever enters it; None: what enters it."""

        def forward(*args: Any, **kwargs: Any) -> Any:
            output = args[0] if args else kwargs["hidden_states"]
            if hidden is not None:
                made = hidden()
                copies = output.shape[0] // made.shape[0]
                output = made if copies == 1 else made.repeat(copies, 1, 1)
            return (output,) if self._in_tuple else output

        return forward
