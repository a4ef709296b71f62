"""One thread a process: tests are small, and run several processes beside each other. Set before torch is imported."""

import gc
import os
import sys

import pytest

if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    sys.dont_write_bytecode = False  # each process of the tests, some of which start others, would compile all sources
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
gc.disable()  # while tests are collected, which makes a million objects that stay


def pytest_collection_finish():
    """What was imported and collected stays, with what little garbage is among it: nothing ever looks at it.

    Nor are the modules that tests import looked at again and again: by Python's own thresholds a tenth of a run's time.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 10)
    gc.enable()


def pytest_sessionfinish():
    """What is left of the tests is looked through once: pytest does it five times over, and Python as it ends."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def the_disk_is_not_waited_for():
    """os.fsync returns at once: no test pulls the plug, and a third of the time of tests of runs went into waiting.

    Tests of what happens where it fails, or of when it is called, put their own in its place.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: os.fstat(handle) and None)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_gpu_is_seeded_where_there_is_none():
    """torch.manual_seed takes the caller's whole stack along to seed GPUs with, later: a millisecond at each call."""
    torch = sys.modules.get("torch")
    if torch is None or torch.cuda.is_available():
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "manual_seed_all", lambda seed: None)
        yield
