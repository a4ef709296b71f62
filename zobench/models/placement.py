"""Where the weights of a model go: the CPU, a GPU that has the room, or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from .. import devices
from ..errors import ZobenchError, unknown

SPREADS = ("balanced", "sequential")
"""Ways of transformers to spread blocks over GPUs: evenly, or each filled in turn."""
MAPS = ("auto", *SPREADS, "none")
"""How weights are spread: balanced where no one GPU has the room, in one of the ways above, or never."""
_USABLE = 0.9
"""Of a GPU's free memory for weights; the rest is for activations and the allocator."""


@dataclass(frozen=True)
class Placement:
    """Where the weights of a model go."""

    device: str
    """The device; of several that they are spread over the first."""
    room: Mapping[int, int] = field(default_factory=dict)
    """Of several: GPU -> bytes of weights that it may hold."""
    spread: str = SPREADS[0]
    """Of several: one of SPREADS."""

    @property
    def kind(self) -> str:
        """The kind of the device."""
        return self.device.partition(":")[0]


def check_word(device_map: str) -> None:
    """ZobenchError for a word that is none of MAPS."""
    if device_map not in MAPS:
        raise ZobenchError(unknown("device map", device_map, MAPS))


def check_map(device_map: str, device: str) -> None:
    """ZobenchError for a word that is none of MAPS, and for a device over which nothing can be spread."""
    check_word(device_map)
    kind, _, number = (devices.best() if device == "auto" else device).partition(":")
    if device_map in SPREADS and (number or kind not in devices.GPUS):
        named = f"--device {device} means {kind}:{number} alone" if number else f"there is one device, {kind}"
        raise ZobenchError(
            f"--device-map {device_map} spreads a model over GPUs, and {named}; leave it out, or give --device auto"
        )


def placement(spec: str, device: str, need: int, device_map: str = "auto") -> Placement:
    """Where weights of `need` bytes go. GPUs are asked one by one for what is free, until one has the room, or all of
    them where the weights shall be spread: to ask opens a context there.

    ZobenchError where there is no room, and as `check_map`.
    """
    check_map(device_map, device)
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
        if need <= _USABLE * free[i] and (device_map not in SPREADS or devices.count(kind) == 1):
            return Placement(f"{kind}:{i}")
    if device_map == "none":
        raise _no_room(spec, need, max(free, default=0), "the GPU that has the most, and --device-map none takes one")
    if len(free) > 1 and need <= _USABLE * sum(free):
        how = device_map if device_map in SPREADS else SPREADS[0]
        return Placement(f"{kind}:0", {i: int(_USABLE * size) for i, size in enumerate(free)}, how)
    raise _no_room(spec, need, sum(free), "the GPUs" if len(free) > 1 else f"{kind}:0")


def room(free: Sequence[int], need: int, device_map: str = "auto") -> int:
    """Bytes of GPUs with so much free each that a model with `need` bytes of weights, and what is kept beside it, may
    take: of the one that it goes to, or of all that it is spread over, of which the scarcest decides.

    Where there is no room for the weights it is what they would have been given. ZobenchError as `check_word`.
    """
    check_word(device_map)
    fits = [size for size in free if need <= _USABLE * size]
    if device_map == "none" or len(free) == 1 or (fits and device_map not in SPREADS):
        return fits[0] if fits else max(free)
    return sum(free) if device_map == "sequential" else len(free) * min(free)


def _placed(spec: str, device: str, need: int, free: int) -> Placement:
    if need <= _USABLE * free:
        return Placement(device)
    raise _no_room(spec, need, free, device)


def _no_room(spec: str, need: int, free: int, where: str) -> ZobenchError:
    return ZobenchError(
        f"--model {spec}: needs {need / 2**30:.1f} GiB for its weights, and {free / 2**30:.1f} GiB are free on {where} "
        f"(of which {_USABLE:.0%} can be used); use --dtype float16, free the memory, or --device cpu"
    )
