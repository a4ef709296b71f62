"""Devices that are not here: what torch's modules for them are asked, and what of a run follows."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from zobench import devices, kernels
from zobench.errors import out_of_memory
from zobench.run import failure
from zobench.run.memory import PeakMemory
from zobench.timers import Timers

GIB = 2**30
XPU, MPS = torch.device("xpu:1"), torch.device("mps")


def test_what_is_spread_has_the_room_that_the_fullest_device_leaves_it(monkeypatch):
    """A model of a quarter on one device and of three on another grows by as much on each."""
    left = {"cuda:0": 2 * GIB, "cuda:1": 3 * GIB}
    monkeypatch.setattr(devices, "free", lambda device: left[str(device)])
    shares = {torch.device("cuda:0"): 1 * GIB, torch.device("cuda:1"): 3 * GIB}
    assert devices.free_for(shares) == 4 * GIB and devices.free_for({}) == 0


@pytest.fixture
def xpu(monkeypatch):
    """torch's module for Intel's GPUs, of which there are two; and what it was asked."""
    asked = []

    def note(name, answer=None):
        return lambda *args: (asked.append((name, *args)), answer)[1]

    properties = SimpleNamespace(gpu_subslice_count=64)
    module = SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: 2,
        mem_get_info=note("mem_get_info", (5 * GIB, 16 * GIB)),
        memory_reserved=lambda device: 3 * GIB,
        memory_allocated=lambda device: 2 * GIB,
        max_memory_allocated=note("max_memory_allocated", 7 * GIB),
        reset_peak_memory_stats=note("reset_peak_memory_stats"),
        synchronize=note("synchronize"),
        get_device_name=lambda device: "Intel GPU",
        get_device_properties=lambda device: properties,
        Event=lambda enable_timing: SimpleNamespace(record=note("record")),
        current_stream=lambda device: ("stream", device),
    )
    monkeypatch.setattr(torch, "xpu", module)
    return asked


@pytest.fixture
def mps(monkeypatch):
    """torch's module for Apple's GPU."""
    waits = []
    module = SimpleNamespace(
        recommended_max_memory=lambda: 10 * GIB,
        driver_allocated_memory=lambda: 4 * GIB,
        synchronize=lambda: waits.append(1),
    )
    monkeypatch.setattr(torch, "mps", module)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    return waits


def test_intel_s_gpus_answer_as_cuda_s_do(xpu):
    devices.check("xpu:1")
    assert devices.best() == "xpu" and devices.beside(XPU)
    assert devices.free(XPU) == 6 * GIB  # what its allocator keeps can be taken too
    memory = PeakMemory([XPU])
    assert memory.peak() == 7 * GIB and "allocated by torch" in memory.kind
    devices.synchronize([XPU])
    assert [name for name, *_ in xpu] == [
        "mem_get_info",
        "reset_peak_memory_stats",
        "max_memory_allocated",
        "synchronize",
    ]
    assert all(device == XPU for _, device in xpu)
    assert devices.name(XPU) == "Intel GPU" and devices.processors(XPU) == 64


def test_steps_of_intel_s_gpus_are_timed_by_events_of_their_own_streams(xpu):
    timers = Timers(XPU)
    timers.on = True
    timers.start_step()
    assert xpu == [("record", ("stream", XPU))]


def test_apple_s_gpu_answers_what_it_can(mps):
    devices.check("mps")
    assert devices.best() == "mps" and devices.beside(MPS) and devices.name(MPS) == "Apple GPU"
    assert devices.free(MPS) == 6 * GIB and devices.processors(MPS) is None
    devices.synchronize([MPS])
    assert mps == [1]
    assert PeakMemory([MPS]).kind.startswith("resident size of the process")  # it counts no peak
    timers = Timers(MPS)  # nor events of several streams: the host's clock
    timers.on = True
    timers.start_step()
    timers.end_step()
    assert len(timers.take()) == 1


def test_random_streams_of_other_devices_are_put_back(mps, xpu, monkeypatch):
    put = []
    for kind, state in (("xpu", [3, 4]), ("mps", 5)):
        module = getattr(torch, kind)
        monkeypatch.setattr(module, "is_initialized", lambda: True, raising=False)
        monkeypatch.setattr(module, "get_rng_state_all", lambda state=state: state, raising=False)
        monkeypatch.setattr(module, "set_rng_state_all", lambda given: put.append(("xpu", given)), raising=False)
        monkeypatch.setattr(module, "get_rng_state", lambda state=state: state, raising=False)
        monkeypatch.setattr(module, "set_rng_state", lambda given: put.append(("mps", given)), raising=False)
    devices.streams()()
    assert put == [("xpu", [3, 4]), ("mps", 5)]


@pytest.mark.parametrize("kind", ["mps", "xpu"])
def test_noise_is_drawn_by_torch_where_there_are_no_kernels(kind):
    assert kernels.why_not(kind) == f"there are no kernels for {kind}" and kernels.drawn_by(kind) == "torch"


def test_memory_that_ran_out_is_known_from_what_it_led_to():
    full = MemoryError()
    assert out_of_memory(full) and not out_of_memory(ValueError("out of memory")) and not out_of_memory(None)
    caused = ValueError()
    caused.__cause__ = full
    assert out_of_memory(caused)
    during = ValueError()
    during.__context__ = full
    assert out_of_memory(during)
    during.__suppress_context__ = True
    assert not out_of_memory(during), "raised from None: it is another story"


@pytest.mark.parametrize(
    "error",
    [RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)"), torch.OutOfMemoryError("XPU out of memory.")],
)
def test_memory_that_runs_out_is_known_on_every_kind(monkeypatch, error):
    assert out_of_memory(error)
    monkeypatch.setattr(failure, "held_by_others", lambda device: None)
    assert failure.retry(error, MPS) is None
