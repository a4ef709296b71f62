"""Each engine takes a step on a GPU as on a CPU: the same losses, one wait of the host, few copies, no new events."""

from __future__ import annotations

import pytest
import torch
from kits import pretend_cuda
from kits.matrix import covering, named
from pretend_kit import assert_as_on_the_cpu, session, steps

from zobench.engine import ENGINES
from zobench.timers import Timers

WAITS = {"official": 6, "official_fused": 2}
"""Of the host, a step; else 1, to see that losses are finite. `official` reads its coefficient as MeZO does, and pads
rows, for which transformers looks twice at each mask.
"""


@pytest.mark.parametrize(("engine", "scope"), covering(ENGINES, ["full", "layer"]))
def test_a_step_is_that_of_the_cpu_and_waits_once(engine, scope):
    there, here = (steps(session(device), engine=engine, scope=scope) for device in ("cuda", "cpu"))
    assert there.losses == pytest.approx(here.losses, abs=5e-6)
    assert there.total == pytest.approx(here.total, rel=1e-6)
    assert (there.rows, there.together) == (here.rows, here.together)
    fresh = sum(n for line, n in there.waits.items() if "prefix.py" in line)  # once a run: is what is known still so?
    assert there.waits.total() - fresh == WAITS.get(engine, 1), there.waits
    assert fresh <= 1
    assert there.events == 0  # those of the step before are used again


NARROW = [
    ("float16", "flat", "arithmetic", "native"),
    ("float16", "flat", "exact", "native"),
    ("bfloat16", "streamed", "exact", "float32"),
]


@pytest.mark.parametrize(("dtype", "engine", "restore", "precision"), named(NARROW, NARROW[::2]))
def test_in_sixteen_bits_too(dtype, engine, restore, precision):
    assert_as_on_the_cpu(dtype, engine=engine, restore=restore, precision=precision)


def test_noise_is_another_where_a_generator_draws_it():
    there, here = (steps(session(device), noise="per_tensor", engine="flat") for device in ("cuda", "cpu"))
    assert there.losses != pytest.approx(here.losses, abs=1e-6)


def test_times_are_of_the_device_that_is_timed():
    pretend_cuda.recorded_on.clear()
    timers = Timers(torch.device("cuda:1"))
    timers.on = True
    for _ in range(3):
        timers.start_step()
        with timers.part("forward"):
            pass
        timers.end_step()
    assert set(pretend_cuda.recorded_on) == {1}
    assert len(timers.take()) == 3
    assert all(times.step_s >= times.forward_s >= 0 for times in timers.take())


def test_a_run_on_the_second_device_stays_there():
    before = pretend_cuda.native.allocated(0)
    there = steps(session("cuda:1"), engine="pair", scope="layer")
    assert there.losses == pytest.approx(steps(session("cpu"), engine="pair", scope="layer").losses, abs=5e-6)
    assert pretend_cuda.native.allocated(0) == before
    assert set(pretend_cuda.recorded_on) == {1}
