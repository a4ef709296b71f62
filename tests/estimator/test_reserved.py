"""What the core keeps on an estimator is read-only, and a name that is the core's is refused before anything runs."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from kits.toy_runs import Run

from zobench import Estimator, Positive, Selector, ZobenchError
from zobench.reserved import kept, shown

CORE = (
    "t active timers engine handles log forwards param_groups scope source seed check_finite unchecked buffers space"
).split()
WORDS = "noise buffer descend move each compute freeze generator settle state step_size step".split()


class Plain(Estimator):
    eps: Positive = 1e-3

    def iterate(self, losses):
        z = self.noise()
        self.descend(losses.slope(z, self.eps) * z)


@pytest.mark.parametrize("name", [*CORE, *(w for w in WORDS if w != "step_size"), "_step_seed", "_drawn", "defaults"])
@pytest.mark.parametrize("where", ["setup", "iterate"])
def test_what_the_core_keeps_cannot_be_assigned(name, where):
    def assign(self, *_):
        setattr(self, name, 0)

    cls = type("Bad", (Plain,), {where: assign})
    with pytest.raises(AttributeError, match=rf"Bad: self.{name} is zobench's own, to be read.*\(kept: .*, t, timers"):
        Run(cls).go(1)


def test_names_of_its_own_are_free():
    class Good(Plain):
        def setup(self):
            self.count, self.step_size, self.m, self.T = 0, 1.0, self.buffer("m"), 0

        def iterate(self, losses):
            self.count += 1
            super().iterate(losses)

    run = Run(Good)
    run.go(3)
    assert (run.opt.count, run.opt.t) == (3, 3)


def test_a_step_that_failed_leaves_t_and_goes_on():
    run = Run(Plain)
    with pytest.raises(ZeroDivisionError):
        run.opt.step(lambda: 1 / 0)
    run.go(2)
    assert run.opt.t == 2 and [r.step for r in run.opt.log] == [0, 1]


def test_a_step_inside_a_step_is_refused():
    class Twice(Plain):
        def iterate(self, losses):
            self.step(losses.base)

    with pytest.raises(TypeError, match="Twice.iterate calls step: one step is one call of iterate"):
        Run(Twice).go(1)


def test_schedulers_of_torch_still_work():
    run = Run(Plain, lr=1e-2)
    schedule = torch.optim.lr_scheduler.StepLR(run.opt, 1, gamma=0.5)
    for _ in range(3):
        run.go(1)
        schedule.step()
    assert [r.lr[0] for r in run.opt.log] == [1e-2, 5e-3, 2.5e-3]


@pytest.mark.parametrize("name", ["lr", "weight_decay", "seed", "engine", "noise", "restore", "buffer", "descend", "t"])
def test_a_setting_may_not_have_a_name_of_the_cores(name):
    cls = type("Bad", (Plain,), {"__annotations__": {name: float}, name: 1.0})
    with pytest.raises(
        ZobenchError, match=rf"a setting of Bad may not be called '{name}', .* reserved: active, .*seed"
    ):
        Run(cls)


def test_a_method_may_not_have_a_name_of_the_cores():
    class Bad(Plain):
        def move(self):
            return 0

    with pytest.raises(ZobenchError, match=r"a method of Bad may not be called 'move', .*\(test_reserved.py:\d+\)"):
        Run(Bad)


def test_a_fact_is_no_setting():
    class Bad(Plain):
        verified: bool = True

    with pytest.raises(ZobenchError, match=r"verified of Bad is a fact, .*: write verified: ClassVar\[...\] = ..."):
        Run(Bad)

    class Good(Plain):
        verified: ClassVar[bool] = True
        forwards_per_step = 2

    Run(Good).go(1)


@pytest.mark.parametrize(
    ("kind", "default", "says"),
    [
        (dict, {}, "nothing can be set that is <class 'dict'>"),
        (tuple, (), "nothing can be set that is"),
        (float, "x", "its own default does not fit: eps=x: not a number"),
        (Positive, -1.0, "its own default does not fit: eps=-1.0: must be above 0"),
        (int, None, "its own default does not fit"),
        ("Nowhere", 1, "the annotations of Bad cannot be read: NameError"),
        (list[int], [1], "nothing can be set that is list"),
        (complex, 1j, "nothing can be set that is"),
    ],
)
def test_a_setting_that_cannot_be_set(kind, default, says):
    cls = type("Bad", (Plain,), {"__annotations__": {"eps": kind}, "eps": default})
    with pytest.raises(ZobenchError) as e:
        Run(cls)
    assert says in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize("name", ["settings", "parts", "of", "chosen"])
def test_selectors_keep_names_too(name):
    cls = type("Bad", (Selector,), {"__annotations__": {name: int}, name: 1})
    with pytest.raises(ZobenchError, match=f"a setting of Bad may not be called '{name}'.*reserved: chosen, of, parts"):
        cls()


def test_select_is_no_setting():
    cls = type("Bad", (Selector,), {"__annotations__": {"select": int}, "select": 1})
    with pytest.raises(ZobenchError, match="a setting of Bad may not be called 'select'"):
        cls()


def test_every_name_of_the_core_is_kept():
    run = Run(Plain)
    own = {"setup", "iterate", "state_of", "fit", "eps"}
    assert not {n for n in vars(run.opt) if not n.startswith("_")} - kept("estimators", Estimator) - own
    assert {"t", "noise", "forwards", "log", "lr"} <= set(shown("estimators", Estimator))
