"""Where the weights of a model go: the CPU, a GPU that has the room, or several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from .. import devices
from ..errors import ZobenchError

_USABLE = 0.9
"""Of a GPU's free memory for weights; the rest is for activations and the allocator."""


@dataclass(frozen=True)
class Placement:
    """Where the weights of a model go."""

    device: str
    """The device; of several that they are spread over the first."""
    room: Mapping[int, int] = field(default_factory=dict)
    """Of several: GPU -> bytes of weights that it may hold."""

    @property
    def kind(self) -> str:
        """The kind of the device."""
        return self.device.partition(":")[0]


def placement(spec: str, device: str, need: int) -> Placement:
    """Where weights of `need` bytes go. GPUs are asked one by one for what is free, until one has the room: to ask
    opens a context there. ZobenchError where there is no room.
    """
    kind, _, number = (devices.best() if device == "auto" else device).partition(":")
    if kind == "cpu":
        return Placement("cpu")
    if kind == "mps":
        return _placed(spec, "mps", need, devices.free(torch.device("mps")))
    if number:
        return _placed(spec, f"{kind}:{number}", need, devices.free(torch.device(kind, int(number))))
    free: list[int] = []
    for i in range(devices.count(kind)):
        free.append(devices.free(torch.device(kind, i)))
        if need <= _USABLE * free[i]:
            return Placement(f"{kind}:{i}")
    if len(free) > 1 and need <= _USABLE * sum(free):
        return Placement(f"{kind}:0", {i: int(_USABLE * size) for i, size in enumerate(free)})
    raise _no_room(spec, need, sum(free), "the GPUs" if len(free) > 1 else f"{kind}:0")


def _placed(spec: str, device: str, need: int, free: int) -> Placement:
    if need <= _USABLE * free:
        return Placement(device)
    raise _no_room(spec, need, free, device)


def _no_room(spec: str, need: int, free: int, where: str) -> ZobenchError:
    return ZobenchError(
        f"--model {spec}: needs {need / 2**30:.1f} GiB for its weights, and {free / 2**30:.1f} GiB are free on {where} "
        f"(of which {_USABLE:.0%} can be used); use --dtype float16, free the memory, or --device cpu"
    )
