"""Plugins that fail, or wait, where the environment says; and a run in a process of its own, to be interrupted."""

from __future__ import annotations

import time
from pathlib import Path
from subprocess import Popen

from kits.processes import Forked, started

WAITING = """
    import os, time
    from zobench import hookimpl
    from zobench_plugins.estimators.mezo import MeZO

    class Waiting(MeZO):
        def iterate(self, losses):
            shown = super().iterate(losses)
            while self.t == 2 and os.environ.get("WAIT"):
                time.sleep(0.01)
            return shown

    @hookimpl
    def zobench_estimators():
        return {"waiting": Waiting}
"""
"""MeZO, which in its third step waits for ever where WAIT is set."""


def in_training(words: list[str], results: Path, *, afresh: bool = False) -> Forked | Popen[str]:
    """A run of `waiting` in a process of its own (see kits.processes), which waits in its training."""
    process = started(words, afresh=afresh, WAIT="1")
    while not list(results.glob("cells/.*.steps.jsonl")):  # however long that takes: it ends with the process
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process


FAULTY = """
    import os
    import torch
    from zobench import Selector, hookimpl
    from zobench_plugins.estimators.mezo import MeZO

    class Strange(BaseException):
        pass

    FAULTS = {
        "error": ValueError("a fault of the plugin\\nand more of it"),
        "oom": MemoryError("no room"),
        "exit": SystemExit(3),
        "interrupted": KeyboardInterrupt(),
        "stopped": GeneratorExit(),
        "allocator": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        "windows": RuntimeError("DefaultCPUAllocator: not enough memory: you tried 8 bytes"),
        "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        "wrapped": ValueError("of the plugin"),
        "base": Strange("of the plugin"),
    }
    FAULTS["wrapped"].__cause__ = RuntimeError("of a library")
    FAULTS["wrapped"].__cause__.__cause__ = MemoryError()

    def fail(where):
        kind, _, place = os.environ.get("FAULT", "").partition("@")
        if place == where:
            raise FAULTS[kind]

    class Faulty(MeZO):
        def iterate(self, losses):
            if self.t == 2:
                z = self.noise()
                losses(+self.eps * z, -self.eps * z)
                fail("looks")
            shown = super().iterate(losses)
            if self.t == 2:
                fail("move")
            return shown

    class Block(Selector):
        def select(self, context):
            context.note(seen=1)
            fail("select")
            return context.layers(1)

    class Odd(Selector):
        def select(self, context):
            context.note(blocks=context.blocks)
            return context.layers(1)

    @hookimpl
    def zobench_estimators():
        return {"faulty": Faulty}

    @hookimpl
    def zobench_selectors():
        return {"block": Block, "odd": Odd}

    @hookimpl
    def zobench_eval(step):
        fail("eval")
"""
"""A method, selectors and an observer that fail as FAULT=kind@place says."""
