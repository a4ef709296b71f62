"""Memory that tensors have freed is there for the next ones, and not among what a cell is measured to hold."""

import os
import platform
import subprocess
import sys

import pytest
import torch

from zobench.errors import ZobenchError
from zobench.plugins.registry import load_plugins
from zobench.run import heap, memory, place, work

PROGRAM = """
import resource, sys
from zobench.run import heap
kept = heap.keep_freed() if sys.argv[1] == "keep" else None
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

def forward():
    activations = [bytearray(2**22) for _ in range(8)]

forward()
before = faults()
for _ in range(20):
    forward()
made, held = faults() - before, resident()
heap.give_back()
print(kept, made, held - resident())
"""
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def _run(how, **environment):
    clean = {k: v for k, v in os.environ.items() if k not in heap._OF_THE_USER}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True, env=clean | environment
    )
    kept, faults, given = done.stdout.split()
    return kept, int(faults), int(given)


@glibc
def test_pages_are_made_once_and_given_back_when_asked():
    _, anew, _ = _run("leave")
    kept, once, given = _run("keep")
    assert kept == "True"
    assert once < anew / 4, "the pages of one forward are those of the next"
    assert given >= 8 * 2**22 * 0.9


@glibc
def test_what_the_user_says_of_malloc_stays():
    for name in heap._OF_THE_USER[:2]:
        kept, _, _ = _run("keep", **{name: "131072"})
        assert kept == "False"


def test_where_there_is_no_such_c_library_nothing_is_done(monkeypatch):
    def no_library(name):
        raise TypeError("Windows has no name for all that is loaded")

    monkeypatch.setattr(heap.ctypes, "CDLL", no_library)
    heap.keep_freed.cache_clear()
    try:
        assert heap.keep_freed() is False
        heap.give_back()
    finally:
        heap.keep_freed.cache_clear()


def test_every_cell_is_measured_without(monkeypatch):
    asked = []
    monkeypatch.setattr(memory, "give_back", lambda: asked.append("given back"))
    memory.PeakMemory([torch.device("cpu")])
    assert asked == ["given back"]


def test_every_process_that_loads_a_model_for_a_command_keeps(monkeypatch):
    asked, plugins = [], load_plugins(only="")
    monkeypatch.setattr(place, "keep_freed", lambda: asked.append("load"))
    monkeypatch.setattr(work, "keep_freed", lambda: asked.append("session"))
    nowhere = place.Place("/nowhere", device="cpu")
    with pytest.raises(ZobenchError, match="nowhere"):
        assert work.RunInProcess(work.Order(nowhere, "float32"), plugins).session
    assert asked == ["session", "load"]
    with pytest.raises(ZobenchError, match="nowhere"):
        place.outlined(nowhere, plugins, "float32")
    assert asked == ["session", "load", "load"]


def test_the_c_library_is_asked_by_its_own_numbers(monkeypatch):
    """M_MMAP_THRESHOLD is -3 and M_TRIM_THRESHOLD -1 in glibc's malloc.h."""
    asked = []
    monkeypatch.setattr(heap, "_function", lambda name: lambda *given: asked.append((name, *given)) is None)
    for name in heap._OF_THE_USER:
        monkeypatch.delenv(name, raising=False)
    assert heap.keep_freed.__wrapped__()
    assert asked == [("mallopt", -3, 2**25), ("mallopt", -1, 2**27)]
