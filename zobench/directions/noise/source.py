"""Noise: seeded random directions, and where seeds come from.

A draw is a pure function of (seed, kind, tensor, shape), so it is regenerated instead of stored.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...errors import ZobenchError
from ..handle import Handle
from ..nodes import Get, Node
from ..shapes import Shapes

KINDS = ("gaussian", "rademacher")
RECALLED = 64
"""Steps back that an estimator may ask for draws again: `noise(ago=...)`."""


def mix(*parts: object) -> int:
    """63 bits of blake2b of the parts: a seed, equal on every machine."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class Noise(Node):
    """A seeded direction. Its shapes are fixed when it is made, its values never are stored.

    (A predicate that closes over a loop variable must not be asked again when an engine gets round to a sweep.)
    """

    seeded: ClassVar[bool] = True

    def __init__(self, seed: int, kind: str, source: NoiseSource, shapes: Shapes, label: str) -> None:
        self.seed, self.kind, self.source, self.shapes, self.label = seed, kind, source, shapes, label
        self.full_shape = shapes is shapes.space.full

    def shape_on(self, p: Handle) -> tuple[int, ...] | None:
        """Its shape on one tensor, None where it has no value."""
        if self.full_shape:
            return tuple(p.shape)
        entry = self.shapes.of.get(p.name)
        return entry if isinstance(entry, tuple) else None

    def value(self, p: Handle, get: Get) -> Tensor | None:
        drawn = self.draw(p)
        return None if drawn is None else drawn.to(p.dtype)

    @property
    def key(self) -> Hashable | None:
        return (self.source, self.seed, self.kind, self.shapes) if self.source.apart else None

    def size(self, handles: Sequence[Handle]) -> int:
        shapes = ((self.shape_on(p), p.dtype.itemsize) for p in handles)
        return sum(math.prod(shape) * size for shape, size in shapes if shape is not None)

    def draw(self, p: Handle) -> Tensor | None:
        """The draw on one tensor, in the dtype of its source."""
        shape = self.shape_on(p)
        if shape is None:
            return None
        return self.source.draw(self.seed, self.kind, p, shape, full_shape=self.full_shape, among=self.shapes)

    def filler(self, p: Handle) -> Callable[[Tensor], object] | None:
        """What draws the next entries on `p` into a tensor of their number; None where they are drawn all at once."""
        return self.source.filler(self.seed, self.kind, p) if self.full_shape else None

    def __repr__(self) -> str:
        return f"{self.label}<{self.kind},{self.seed}>"


class NoiseSource:
    """Where draws and the seeds of steps come from."""

    name: ClassVar[str]
    apart: ClassVar[bool] = True  # a tensor's draw does not depend on what else moves

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.kept: dict[Any, Any] = {}  # results of map(keep=True)
        self._generators: dict[torch.device, torch.Generator] = {}

    def step_seed(self, step: int) -> int:
        """The seed of a step: steps are asked for in order, and the last RECALLED of them may be asked for again."""
        raise NotImplementedError

    def draw(
        self, seed: int, kind: str, p: Handle, shape: tuple[int, ...], *, full_shape: bool, among: Shapes | None = None
    ) -> Tensor:
        """A new tensor of this shape on the device of `p`. full_shape: every tensor of the scope in its own shape.

        among: the shapes on all tensors of the step, of a source that draws some of them together.
        """
        raise NotImplementedError

    def filler(self, seed: int, kind: str, p: Handle) -> Callable[[Tensor], object] | None:
        """Of a draw in the tensor's own shape, what puts the next entries into a contiguous float tensor.

        Called for consecutive parts of a multiple of 16 entries (the last: 16 at least), before anything else is drawn,
        it gives what `draw` gives. None: this source draws whole tensors alone.
        """
        return None

    def state(self) -> dict[str, Any]:
        """What must be saved to go on: plain numbers and tensors."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""

    def seeded(self, device: torch.device, seed: int) -> torch.Generator:
        """The one generator of a device, at the start of the stream of `seed`."""
        if device not in self._generators:
            self._generators[device] = torch.Generator(device)
        return self._generators[device].manual_seed(seed)


class PerTensor(NoiseSource):
    """Every tensor has its own stream: scope, order and sharding do not change the z of what stays.

    Seeds: 63 bits of blake2b of (step seed, kind, tensor name). A step's seed is 63 bits of blake2b of (seed, step).
    Draws are float32 (then widened with the parameter), so all weight dtypes see the same z. torch's CPU generator
    uses the low 32 bits of a tensor's seed; streams of CPU and accelerator differ.
    """

    name = "per_tensor"

    def step_seed(self, step: int) -> int:
        return mix(self.seed, "step", step)

    def draw(
        self, seed: int, kind: str, p: Handle, shape: tuple[int, ...], *, full_shape: bool, among: Shapes | None = None
    ) -> Tensor:
        device = p.param.device
        g = self.seeded(device, mix(seed, kind, p.name))
        if kind == "gaussian":
            return torch.randn(shape, dtype=torch.float32, device=device, generator=g)
        signs = torch.randint(0, 2, shape, dtype=torch.int8, device=device, generator=g)
        return signs.to(torch.float32).mul_(2).sub_(1)

    def filler(self, seed: int, kind: str, p: Handle) -> Callable[[Tensor], object] | None:
        own = type(self).draw is PerTensor.draw and "draw" not in vars(self)
        if not own or kind != "gaussian" or p.param.device.type != "cpu":
            return None
        g = self.seeded(p.param.device, mix(seed, kind, p.name))

        def fill(out: Tensor) -> Tensor:  # torch fills by 16 entries: the stream of a whole tensor
            if out.dtype == torch.float32:
                return out.normal_(generator=g)
            return out.copy_(torch.empty(out.shape).normal_(generator=g))

        return fill


class OfficialStream(PerTensor):
    """MeZO's noise (large_models/trainer.py): one torch.normal stream over the scope, in the parameters' dtypes.

    A step's seed is the next numpy RandomState(seed).randint(10**9). Draws that MeZO has no counterpart for
    (other kinds, parts of the scope, other shapes) are those of `per_tensor`.
    """

    name = "official"
    apart = False
    _OPEN = RECALLED + 1  # streams that may be under way at once

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        if not 0 <= seed < 2**32:
            raise ZobenchError(f"seed {seed}: official noise needs a seed from 0 to {2**32 - 1}")
        self._rng = np.random.RandomState(seed)
        self._seeds: dict[int, int] = {}  # of the last steps
        self._streams: dict[int, tuple[dict[torch.device, torch.Generator], int]] = {}

    def step_seed(self, step: int) -> int:
        if step not in self._seeds:
            self._seeds[step] = int(self._rng.randint(1_000_000_000))
            self._seeds.pop(step - RECALLED - 1, None)
        return self._seeds[step]

    def draw(
        self, seed: int, kind: str, p: Handle, shape: tuple[int, ...], *, full_shape: bool, among: Shapes | None = None
    ) -> Tensor:
        if kind != "gaussian" or not full_shape:
            return super().draw(seed, kind, p, shape, full_shape=full_shape)
        device, (open_, position) = p.param.device, self._streams.pop(seed, ({}, 0))
        if position != p.index:
            if p.index:
                raise RuntimeError(
                    f"official noise is one stream in scope order: {p.name} is tensor {p.index}, the stream stands at "
                    f"{position}. Take the tensors in order, or use noise='per_tensor'"
                )
            open_ = {}
        while len(self._streams) >= self._OPEN:
            del self._streams[next(iter(self._streams))]
        if device not in open_:  # torch.manual_seed seeds every device alike
            open_[device] = torch.Generator(device).manual_seed(seed)
        self._streams[seed] = (open_, p.index + 1)
        return torch.normal(0, 1, size=shape, dtype=p.param.dtype, device=device, generator=open_[device])

    def state(self) -> dict[str, Any]:
        """The state of numpy's Mersenne Twister as plain numbers (so that torch.load(weights_only=True) takes it)."""
        _, key, position, has_gauss, cached = self._rng.get_state(legacy=True)
        words = torch.tensor(np.asarray(key, dtype=np.int64))
        return {"key": words, "numbers": [int(position), int(has_gauss), float(cached)], "seeds": dict(self._seeds)}

    def load_state(self, state: dict[str, Any]) -> None:
        position, has_gauss, cached = state["numbers"]
        self._seeds = dict(state["seeds"])
        self._rng.set_state(("MT19937", state["key"].numpy().astype(np.uint32), position, has_gauss, cached))
