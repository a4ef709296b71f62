"""A pretend CUDA device, for tests on machines without one.

    from kits import pretend_cuda          # before anything imports torch
    pretend_cuda.install(devices=2)

Then `torch.device("cuda")` works on a CPU-only build of torch: tensors say cuda:N, live in host memory and are computed
by CPU kernels (device.cpp: a boxed fallback for the CUDA dispatch key). Operators refuse tensors of several devices and
generators of the wrong one, as on a GPU; generators give other numbers than the CPU's; memory runs out at `limit`
bytes a device. Launches, what makes the host wait (with the lines that asked), copies and bytes are counted.

CUDA graphs are noted while they are captured and run again on the memory that they were given, by address: what was
moved since is not followed, what was freed is refused, numbers are those of the capture, and what lies in a pool is
undefined before a graph of the pool has written it. A capture computes nothing and refuses what waits; a replay is one
launch, and a pool keeps the most that one of its captures held.

Not simulated: asynchrony, the kernels and attention back-ends of CUDA, Triton (its kernels have tests of their own).

The extension is compiled once (about 12 seconds of a core) and kept in the user's cache under a hash of its source, its
flags and torch's version.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("device.cpp")
FLAGS = ("-std=c++20", "-O0", "-shared", "-fPIC", "-w", "-DTORCH_EXTENSION_NAME=pretend_cuda")
LIBRARIES = ("c10", "torch_cpu", "torch", "torch_python")
TOTAL = 48 * 2**30
"""Bytes of a pretend device, unless `install` is told of others."""
SMS = 132
native: Any = None
waited: Counter[str] = Counter()
"""Calls of what only waits: synchronisations and events."""
recorded_on: Counter[int] = Counter()
"""Events recorded, by device."""


class Unavailable(Exception):
    """There is no pretend device here; says why."""


def compiler() -> str | None:
    """The C++ compiler: $CXX, else g++ or clang++; None where there is none."""
    return next(
        (found for name in (os.environ.get("CXX"), "g++", "clang++") if name and (found := shutil.which(name))), None
    )


def _torch() -> Path:
    spec = importlib.util.find_spec("torch")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def built() -> Path:
    """The compiled extension; compiled now where it was not yet. Raises Unavailable where it cannot be."""
    if sys.platform != "linux":
        raise Unavailable(f"the pretend device is built for Linux, this is {sys.platform}")
    if "+cu" in version("torch") or (_torch() / "lib" / "libtorch_cuda.so").exists():
        raise Unavailable("this torch is built for CUDA, whose place a pretend device cannot take")
    key = hashlib.blake2b(SOURCE.read_bytes(), digest_size=10)
    key.update(f"{version('torch')} {sys.version} {FLAGS}".encode())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zobench-pretend-cuda"
    made = cache / f"{key.hexdigest()}.so"
    if made.is_file():
        return made
    cxx, headers = compiler(), Path(sysconfig.get_paths()["include"]) / "Python.h"
    if cxx is None or not headers.is_file():
        raise Unavailable("there is no C++ compiler here" if cxx is None else f"there is no {headers}")
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache / "lock"):
        if not made.is_file():
            _compile(cxx, made)
    return made


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time compiles; the others wait for what it makes."""
    import fcntl

    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _compile(cxx: str, made: Path) -> None:
    root = _torch()
    include = (
        root / "include",
        root / "include" / "torch" / "csrc" / "api" / "include",
        sysconfig.get_paths()["include"],
    )
    with tempfile.TemporaryDirectory(dir=made.parent) as folder:
        out = Path(folder) / "device.so"
        command = [cxx, *FLAGS, *(f"-I{path}" for path in include), str(SOURCE), "-o", str(out)]
        command += [f"-L{root / 'lib'}", *(f"-l{name}" for name in LIBRARIES)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise RuntimeError(f"{SOURCE.name} does not compile with torch {version('torch')}:\n{ran.stderr[:4000]}")
        out.replace(made)


def preload() -> None:
    """Load the extension. torch asks once, while it is imported, what CUDA can do: this must come before."""
    if "torch" in sys.modules:
        raise RuntimeError("torch is imported already: the pretend device must come first")
    made, lib = built(), _torch() / "lib"
    for path in (lib / "libc10.so", lib / "libtorch_cpu.so", lib / "libtorch.so", lib / "libtorch_python.so", made):
        ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)


class Event:
    """The host's clock; belongs to the device of its stream, else to the current one, as a real one does."""

    alive = 0

    def __init__(self, enable_timing: bool = False, **_: Any) -> None:
        self.at: float | None = None
        self.device = -1
        Event.alive += 1

    def __del__(self) -> None:
        Event.alive -= 1

    def record(self, stream: Any = None) -> None:
        if native.capturing():
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing (a timed event)")
        self.at = time.perf_counter()
        self.device = native.current() if stream is None else stream.device_index
        recorded_on[self.device] += 1

    def synchronize(self) -> None:
        waited["event"] += 1

    def elapsed_time(self, other: Event) -> float:
        if self.device != other.device or self.at is None or other.at is None:
            raise RuntimeError("events of two devices, or not recorded")
        return (other.at - self.at) * 1e3

    def query(self) -> bool:
        return True


class Properties:
    """What torch.cuda.get_device_properties says."""

    name, major, minor, multi_processor_count, gcnArchName = "Pretend GPU", 9, 0, SMS, ""
    total_memory, warp_size, max_threads_per_multi_processor, regs_per_multiprocessor = TOTAL, 32, 2048, 65536


class _Current:
    """torch.cuda.device: another device is current inside."""

    def __init__(self, device: Any) -> None:
        self.to = index(device)

    def __enter__(self) -> None:
        self.before = native.current()
        native.set_current(self.to)

    def __exit__(self, *_: object) -> bool:
        native.set_current(self.before)
        return False


def index(device: Any = None) -> int:
    """The number of a device, in any of the ways in which torch takes one."""
    if device is None:
        return int(native.current())
    if isinstance(device, int):
        return device if device >= 0 else int(native.current())
    import torch

    number = torch.device(device).index
    return int(native.current()) if number is None else number


def install(devices: int = 2, total: int = TOTAL) -> None:
    """Make torch believe that there are so many CUDA devices of so many bytes. May be called again, to change that."""
    global native
    if native is None:
        preload()
        made = built()
        loader = importlib.machinery.ExtensionFileLoader("pretend_cuda", str(made))
        spec = importlib.util.spec_from_file_location("pretend_cuda", made, loader=loader)
        assert spec is not None
        import torch  # noqa: F401  # pybind needs its types

        native = importlib.util.module_from_spec(spec)
        loader.exec_module(native)
    native.configure(devices, total)
    Properties.total_memory = total
    _patch(devices, total)


def _patch(devices: int, total: int) -> None:
    """torch.cuda's Python side."""
    import torch

    from . import streams

    def used(device: Any = None) -> int:
        return int(native.allocated(index(device)))

    def most(device: Any = None) -> int:
        return int(native.peak(index(device)))

    def free(device: Any = None) -> tuple[int, int]:
        asked[index(device)] += 1
        return total - used(device), total

    made: dict[str, Any] = dict(
        is_available=lambda: True, device_count=lambda: devices, _lazy_init=lambda: None, is_initialized=lambda: True,
        current_device=lambda: native.current(), set_device=lambda d: native.set_current(index(d)), device=_Current,
        get_device_name=lambda d=None: Properties.name, get_device_capability=lambda d=None: (9, 0),
        get_device_properties=lambda d=None: Properties, synchronize=streams.waits, Event=Event, mem_get_info=free,
        memory_allocated=used, memory_reserved=used, max_memory_allocated=most, max_memory_reserved=most,
        reset_peak_memory_stats=lambda d=None: native.reset_peak(index(d)), empty_cache=lambda: None,
        memory_stats=lambda d=None: {"allocated_bytes.all.current": used(d), "allocated_bytes.all.peak": most(d)},
        manual_seed=native.manual_seed, manual_seed_all=native.manual_seed,
        is_current_stream_capturing=native.capturing, Stream=streams.Stream, stream=streams.stream,
        CUDAGraph=streams.Graph, graph_pool_handle=streams.new_pool, get_sync_debug_mode=lambda: 0,
        set_sync_debug_mode=lambda mode: native.refuse_waits(mode == "error"), is_bf16_supported=lambda *a, **k: True,
        get_rng_state=lambda d="cuda": native.default_generator(index(d)).get_state(),
        set_rng_state=lambda s, d="cuda": native.default_generator(index(d)).set_state(s),
        _is_in_bad_fork=lambda: False, _queued_calls=[], current_stream=streams.current_stream,
        default_generators=[native.default_generator(i) for i in range(devices)],
    )  # fmt: skip
    for name, value in made.items():
        setattr(torch.cuda, name, value)


asked: Counter[int] = Counter()
"""Which devices were asked for their free memory, which opens a context on each."""


@contextmanager
def watched(root: Path) -> Iterator[Counter[str]]:
    """Counts what the host waits for inside, by the innermost line below `root` that asked: "what: file:line code"."""
    lines: Counter[str] = Counter()

    def see(what: str) -> None:
        frames = traceback.extract_stack()
        ours = (f for f in reversed(frames) if f.filename.startswith(str(root)) and "/tests/" not in f.filename)
        frame = next(ours, frames[-2])
        lines[f"{what}: {frame.filename.removeprefix(f'{root}/')}:{frame.lineno} {frame.line}"] += 1

    native.clear()
    native.on_sync(see)
    try:
        yield lines
    finally:
        native.on_sync(None)


@functools.cache
def available() -> str | None:
    """None where there is a pretend device (compiled now, if it was not yet), else why there is none."""
    try:
        built()
    except Unavailable as why:
        return str(why)
    return None
