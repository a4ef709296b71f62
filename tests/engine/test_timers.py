"""Timers: the seconds of a step go where they were spent."""

import time
from types import SimpleNamespace

import pytest
import torch
from kits.toy_runs import ENGINES, MeZO, Run

from zobench.timers import StepTimes, Timers


@pytest.mark.parametrize("engine", ENGINES)
def test_parts_of_a_step(engine, monkeypatch):
    """With a clock of its own: a forward takes 20 ms, a look at the clock 0.1 ms."""
    now = 0.0

    def clock():
        nonlocal now
        now += 1e-4
        return now

    def closure():
        nonlocal now
        now += 0.02
        return torch.tensor(1.0)

    monkeypatch.setattr("zobench.timers.time", SimpleNamespace(perf_counter=clock))
    run = Run(engine=engine)
    run.opt.timers.on = True
    for _ in range(3):
        run.opt.step(closure)
    t = run.opt.timers
    assert t.forward_s == pytest.approx(0.04, abs=0.002) and t.forward_s >= 0.04
    assert 0 < t.perturb_s < 0.01 and 0 < t.update_s < 0.01 or engine in ("deferred", "streamed")
    assert t.forward_s + t.perturb_s + t.update_s <= t.last.step_s
    steps = t.take()
    assert len(steps) == 3 and steps[-1] == t.last and t.take() == []


def test_off_unless_asked():
    run = Run()
    run.go(2)
    assert run.opt.timers.last == StepTimes(0.0, 0.0, 0.0, 0.0) and run.opt.timers.take() == []


def test_parts_nest():
    """An inner part is not counted twice."""
    t = Timers(torch.device("cpu"))
    t.on = True
    t.start_step()
    with t.part("update"):
        time.sleep(0.01)
        with t.part("perturb"):
            time.sleep(0.03)
        time.sleep(0.01)
    t.end_step()
    assert 0.02 <= t.update_s < 0.03 + 0.03 and 0.03 <= t.perturb_s
    assert t.update_s + t.perturb_s <= t.last.step_s


def test_a_failed_step_leaves_the_timers_usable():
    run = Run(MeZO)
    run.opt.timers.on = True

    def broken():
        raise ValueError

    with pytest.raises(ValueError):
        run.opt.step(broken)
    run.go(1)
    assert run.opt.timers.forward_s > 0


@pytest.mark.gpu
def test_events_on_an_accelerator():
    w = torch.nn.Parameter(torch.zeros(1000, 1000, device="cuda"))
    opt = MeZO([("w", w)], lr=1.0)
    opt.timers.on = True
    for _ in range(3):
        opt.step(lambda: (w @ w).sum())
    times = opt.timers.take()
    assert len(times) == 3 and all(min(t.forward_s, t.perturb_s, t.update_s) > 0 for t in times)


@pytest.mark.parametrize(("events", "unit"), [(False, 1.0), (True, 1e-3)])
def test_times_are_seconds_whatever_measured_them(events, unit):
    """A clock says seconds, an event of a device milliseconds to another."""

    class Event:
        def __init__(self, at):
            self.at = at

        def elapsed_time(self, other):
            return other.at - self.at

    timers = Timers(torch.device("cpu"))
    timers._events = events
    parts = ("forward", "perturb", "forward", "update", None, None)
    marks = [
        (name, Event(at) if events else at) for name, at in zip(parts, (0.0, 8.0, 9.0, 19.0, 23.0, 30.0), strict=True)
    ]
    assert timers._times(marks) == StepTimes(*(pytest.approx(unit * each) for each in (18.0, 1.0, 4.0, 30.0)))
