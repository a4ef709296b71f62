"""One thread a process: tests are small, and run several processes beside each other. Set before torch is imported."""

import gc
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
gc.disable()  # while tests are collected, which makes a million objects that stay


def pytest_collection_finish():
    """What was imported and collected stays: no later collection of garbage looks at it."""
    gc.collect()
    gc.freeze()
    gc.enable()
