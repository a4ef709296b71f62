"""Devices of every kind by the same few questions: what is free, what was held at most, is all done, who is it.

torch has modules with the same functions for `cuda` (builds for CUDA and ROCm) and `xpu` (Intel), and some of them for
`mps` (Apple).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from .errors import ZobenchError, unknown

GPUS = ("cuda", "xpu")
"""Kinds whose module of torch counts bytes, has events, and of which there may be several."""
KINDS = ("cpu", *GPUS, "mps")
FLOAT64 = ("cpu", "cuda")
"""Kinds that compute in float64, as all of their devices do; of others each is asked."""
_DRIVERS = (Path("/proc/driver/nvidia/version"), Path("/sys/module/amdgpu/version"), Path("/sys/module/xe/srcversion"))


def of_kind(kind: str) -> Any:
    """The module of torch for a kind in GPUS."""
    return getattr(torch, kind)


def count(kind: str) -> int:
    """How many devices of this kind torch sees."""
    if kind == "cpu":
        return 1
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    module = getattr(torch, kind, None)
    return int(module.device_count()) if module is not None and module.is_available() else 0


def best() -> str:
    """The kind that `auto` stands for: the first accelerator that torch sees, else the CPU."""
    return next((kind for kind in (*GPUS, "mps") if count(kind)), "cpu")


def check_name(device: str) -> None:
    """ZobenchError unless `device` is auto, a kind, or a kind with a number; whether it is here is not asked."""
    kind, _, number = device.partition(":")
    if device != "auto" and not (kind in KINDS and (not number or (kind in GPUS and number.isdecimal()))):
        hint = "; torch names the GPUs of ROCm cuda" if kind in ("rocm", "hip") else ""
        raise ZobenchError(unknown("device", device, ("auto", *KINDS, "cuda:1")) + hint)


def check(device: str) -> None:
    """ZobenchError unless `device` is auto, a kind, or a kind with a number, and this machine has it."""
    check_name(device)
    kind, _, number = device.partition(":")
    if kind in ("auto", "cpu"):
        return
    there = count(kind)
    if not there:
        what = {"mps": "no Apple GPU", "xpu": "no Intel GPU"}.get(kind, "no GPU")
        raise ZobenchError(f"--device {device}: torch sees {what} here; use --device cpu")
    if number and int(number) >= there:
        raise ZobenchError(f"--device {device}: there are {there} GPUs, {kind}:0 to {kind}:{there - 1}")


def of_model(model: torch.nn.Module) -> list[torch.device]:
    """The devices that its parameters lie on, the first of them first."""
    return list(dict.fromkeys(p.device for p in model.parameters()))


def beside(device: torch.device) -> bool:
    """Whether work on this device goes on beside the host's, so that time is wall time between synchronisations."""
    return device.type != "cpu"


def synchronize(devices: Iterable[torch.device]) -> None:
    """Wait until all is done on these devices."""
    for device in devices:
        if device.type in GPUS:
            of_kind(device.type).synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()


def free(device: torch.device) -> int:
    """Bytes that could still be taken on this device, what torch's allocator keeps in reserve included."""
    if device.type in GPUS:
        module = of_kind(device.type)
        left, _ = module.mem_get_info(device)
        return int(left + module.memory_reserved(device) - module.memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return int(psutil.virtual_memory().available)


def free_for(shares: dict[torch.device, int]) -> int:
    """Bytes that could still be taken by what lies on devices in these shares: the scarcest decides.

    shares: bytes of the model's weights on each. Of one device what is free there.
    """
    total = sum(shares.values())
    return min((int(free(device) * total / size) for device, size in shares.items() if size), default=0)


def reset_peak(device: torch.device) -> None:
    """The most that is held counts from now."""
    if device.type in GPUS:
        of_kind(device.type).reset_peak_memory_stats(device)


def peak(device: torch.device) -> int:
    """Bytes that torch held on a device in GPUS at most, since the last `reset_peak`."""
    return int(of_kind(device.type).max_memory_allocated(device))


def name(device: torch.device) -> str:
    """As the driver names it."""
    if device.type in GPUS:
        return str(of_kind(device.type).get_device_name(device))
    return "Apple GPU" if device.type == "mps" else "cpu"


def processors(device: torch.device) -> int | None:
    """Multiprocessors of a GPU, over which torch spreads its generator's draws; None where that does not matter."""
    if device.type not in GPUS:
        return None
    properties = of_kind(device.type).get_device_properties(device)
    found = getattr(properties, "multi_processor_count", getattr(properties, "gpu_subslice_count", None))
    return None if found is None else int(found)


@cache
def driver() -> str | None:
    """The driver of the GPUs here, as the system names it; None where it does not say."""
    for path in _DRIVERS:
        try:
            line = path.read_text(encoding="utf-8", errors="replace").splitlines()[0]
        except (OSError, IndexError):
            continue
        return next((word for word in line.split() if word[0].isdigit() and "." in word), line.strip())
    return None


@cache
def has_float64(device: torch.device) -> bool:
    """Whether it computes in float64: Apple's GPUs do not, nor do some of Intel's."""
    try:
        return float(torch.ones(1, dtype=torch.float64, device=device) + 1) == 2.0
    except (RuntimeError, TypeError):
        return False


def wide(x: Tensor) -> Tensor:
    """`x` in float64, in float32 on a device that has no float64: for differences of losses and sums over them."""
    return x.to(widest(x.device))


def widest(device: torch.device) -> torch.dtype:
    """The dtype that `wide` gives there."""
    return torch.float64 if device.type in FLOAT64 or has_float64(device) else torch.float32


def streams() -> Callable[[], None]:
    """Remembers torch's random streams on the accelerators in use; what it returns puts them back."""
    return partial(set_stream_states, stream_states())


def stream_states() -> dict[str, list[Tensor]]:
    """Where torch's random streams on the accelerators in use stand: by kind, of each device."""
    states: dict[str, list[Tensor]] = {}
    for kind in GPUS:
        module = getattr(torch, kind, None)
        if module is not None and module.is_initialized():
            states[kind] = list(module.get_rng_state_all())
    if torch.backends.mps.is_available():
        states["mps"] = [torch.mps.get_rng_state()]
    return states


def set_stream_states(states: Mapping[str, Sequence[Tensor]]) -> None:
    """Put the streams where `stream_states` found them."""
    for kind, of_each in states.items():
        if kind == "mps":
            torch.mps.set_rng_state(of_each[0])
        else:
            getattr(torch, kind).set_rng_state_all(list(of_each))


@contextmanager
def streams_kept() -> Iterator[None]:
    """Inside torch's random streams, of the host and of accelerators, may move; afterwards they are where they were."""
    host, put_back = torch.get_rng_state(), streams()
    try:
        yield
    finally:
        torch.set_rng_state(host)
        put_back()


def mark(device: torch.device) -> Any:
    """An event for `record`, of a device in GPUS, that keeps the time."""
    return of_kind(device.type).Event(enable_timing=True)


def record(event: Any, device: torch.device) -> None:
    """Note when all that was asked of this device so far is done; whatever device is the current one."""
    event.record(of_kind(device.type).current_stream(device))


def sent(x: Tensor, device: torch.device | str) -> Tensor:
    """`x`, of the host, on the device, without a wait of the host: through memory that the device reads by itself."""
    to = torch.device(device)
    if to.type != "cuda" or x.device.type != "cpu":
        return x.to(to, non_blocking=True)
    return x.pin_memory().to(to, non_blocking=True)


def spread(model: torch.nn.Module) -> dict[torch.device, int]:
    """Bytes of its parameters on each device, those of tied names once."""
    out: dict[torch.device, int] = {}
    for p in model.parameters():
        out[p.device] = out.get(p.device, 0) + p.numel() * p.element_size()
    return out


def said(devices: Sequence[torch.device]) -> str:
    """Devices in words: `cuda:0`, or `cuda:0 and cuda:1`."""
    return " and ".join(map(str, devices))
