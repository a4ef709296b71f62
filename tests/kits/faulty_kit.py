"""A plugin that fails where and how the environment says: FAULT=kind@place."""

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
