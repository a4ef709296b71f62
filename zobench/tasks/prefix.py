"""The prefix cache: what enters the lowest block that moves is computed once an example, not once a look.

Blocks below the scope never change while it is trained, so neither do the hidden states that they put out for the
tokens of an example. They are kept when its tokens are first passed over, and given from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..devices import wide
from ..errors import ZobenchError
from ..models.start_at_block import Cut
from .batch import Packed, Stems

ROUNDING = 32
"""What kept hidden states may differ by from fresh ones: this many times the dtype's epsilon, of their norm. A stem is
passed over in one batch and looked at in others, which round otherwise; what is wrong differs by about its norm.
"""


class PrefixCache:
    """Hidden states of stems at a cut: (tokens, hidden) each, in the dtype that the model computes in.

    They lie where the model is up to `limit` bytes, beyond that on the host up to `host_limit`; of stems for which
    there is no more room nothing is kept, and batches that have such go through the whole model. The first batch whose
    stems are all known goes through it too, and what enters the block is compared with what was kept.
    """

    def __init__(self, cut: Cut, device: torch.device, limit: int, host_limit: int = 0) -> None:
        self.cut, self.device = cut, device
        self.hits = self.misses = 0
        self._room = {device: limit}
        if device.type != "cpu":
            self._room[torch.device("cpu")] = host_limit
        self._kept: dict[tuple[int, ...], Tensor] = {}
        self._checked = False
        self._new: list[tuple[int, ...]] = []

    @property
    def at(self) -> int:
        """The block that what is kept enters."""
        return self.cut.at

    def facts(self) -> dict[str, Any]:
        """The state beside the contents: free room, and whether it was compared with a full forward pass."""
        return {"room": list(self._room.values()), "checked": self._checked}

    def taken(self) -> list[tuple[tuple[int, ...], Tensor]]:
        """What was added since the last call: the tokens of stems and their hidden states."""
        new, self._new = self._new, []
        return [(ids, self._kept[ids]) for ids in new]

    def restore(self, kept: Iterable[tuple[tuple[int, ...], bool, Tensor]], facts: Mapping[str, Any]) -> None:
        """Replace the contents by these: tokens, whether on the host, hidden states, and the state that `facts`
        returned then.

        Recomputed hidden states would come from other batches and be rounded differently.
        """
        places = list(self._room)
        self._kept = {ids: hidden.to(places[-1 if host else 0]) for ids, host, hidden in kept}
        self._room, self._checked, self._new = dict(zip(places, facts["room"], strict=True)), facts["checked"], []

    def nbytes(self) -> int:
        """Bytes kept now."""
        return sum(t.numel() * t.element_size() for t in self._kept.values())

    def entering(self, shared: Stems | Packed) -> Tensor | None:
        """What enters the block, (rows, length, hidden), for a forward that begins there; None where not all of it is
        known, or that was not compared yet.
        """
        known = [self._kept[stem.ids] for stem in shared.stems if stem.ids in self._kept]
        if not self._checked or len(known) < len(shared.stems):
            return None
        self.hits += 1
        return self._laid_out(shared, known)

    @contextmanager
    def over(self, shared: Stems | Packed) -> Iterator[None]:
        """Inside, a forward over these stems begins at the block where all are known; else what enters it is kept.

        ZobenchError where kept and fresh hidden states are not the same.
        """
        known = [self._kept[stem.ids] for stem in shared.stems if stem.ids in self._kept]
        complete = len(known) == len(shared.stems)
        if complete and self._checked:
            self.hits += 1
            with self.cut.given(partial(self._laid_out, shared, known)):
                yield
            return
        with self.cut.seen() as seen:
            yield
        if not seen:  # the loss was of a forward that others had called
            return
        self.misses += 1
        hidden = seen[0][: shared.input_ids.shape[0]]  # of the first copy, where there are several
        if complete:
            self._check(shared, hidden, known)
        else:
            self._keep(shared, hidden)

    def _laid_out(self, shared: Stems | Packed, known: Sequence[Tensor]) -> Tensor:
        """The hidden states in the places of their tokens; 0 for padding, which nobody looks at."""
        parts = torch.cat([one.to(self.device, non_blocking=True) for one in known])
        rows, length = shared.input_ids.shape
        out = parts.new_zeros(rows * length, parts.shape[1])
        out[shared.flat] = parts
        return out.view(rows, length, -1)

    def _keep(self, shared: Stems | Packed, hidden: Tensor) -> None:
        flat = hidden.flatten(0, 1)
        for stem, begin in zip(shared.stems, shared.begins, strict=True):
            size = len(stem.ids) * flat.shape[1] * flat.element_size()
            where = next((device for device, room in self._room.items() if room >= size), None)
            if where is not None and stem.ids not in self._kept:
                self._room[where] -= size
                self._kept[stem.ids] = flat[begin : begin + len(stem.ids)].to(where, copy=True)
                self._new.append(stem.ids)

    def _check(self, shared: Stems | Packed, hidden: Tensor, known: Sequence[Tensor]) -> None:
        most = ROUNDING * torch.finfo(hidden.dtype).eps
        flat = hidden.flatten(0, 1)
        same: list[Tensor] = []
        for stem, begin, kept in zip(shared.stems, shared.begins, known, strict=True):
            fresh = wide(flat[begin : begin + len(stem.ids)])
            same.append((fresh - kept.to(fresh)).norm() <= most * fresh.norm())
        if not bool(torch.stack(same).all()):  # one wait for the device
            raise ZobenchError(
                f"what enters block {self.at} is not what it was for the same tokens: something below the scope "
                "changes, or the model looks beyond an example; set prefix_cache=off"
            )
        self._checked = True

    def above(self, loss: Callable[[Callable[..., Any], Any], Tensor]) -> Callable[[Callable[..., Any], Any], Tensor]:
        """`loss(forward, batch)` with what is known given; as it is for batches without shared rows."""

        def looked(forward: Callable[..., Any], batch: Any) -> Tensor:
            if batch.shared is None:
                return loss(forward, batch)
            with self.over(batch.shared):
                return loss(forward, batch)

        return looked
