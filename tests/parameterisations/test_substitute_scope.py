"""Stand-ins move when one of the tensors they stand for does; a buffer's tensor is its own, whole."""

from __future__ import annotations

import pytest
import torch
from kits.toy_runs import Run

from zobench import Estimator, Scope
from zobench.parameterisations.substitute_scope import Substitutes


class Turns(Scope):
    def active(self, step):
        return lambda name: name == ("a" if step == 0 else "b")


def test_a_stand_in_of_two_moves_with_either():
    of = Turns([(n, torch.zeros(2)) for n in "abc"])
    named = [(n, torch.zeros(1)) for n in ("both", "first", "other")]
    scope = Substitutes(named, of, {"both": ("a", "b"), "first": ("a", "c"), "other": ("c",)})
    moves = [[n for n, _ in named if scope.active(step)(n)] for step in (0, 1)]
    assert moves == [["both", "first"], ["both"]]


class Rows(Estimator):
    """A buffer of the weights' shape that is given one row for all."""

    def setup(self):
        self.m = self.buffer("m", init=1.0)

    def iterate(self, losses):
        self.m.assign(1.0 * self.m)
        row = self.noise(shape=lambda p: (1, *p.shape[1:]) if p.ndim == 2 else p.shape)
        self.m.assign(row)
        self.descend(0.0 * self.m)
        return losses.base()


@pytest.mark.parametrize("engine", ["flat", "pair"])
def test_a_buffer_that_was_given_a_row_has_entries_of_its_own(engine):
    run = Run(Rows, engine=engine)
    run.go(1)
    for p in run.opt.handles:
        held = run.opt.m[p]
        assert held.shape == p.shape and held.is_contiguous()
        before = held.clone()
        held.view(-1)[0] += 1.0
        assert int((held != before).sum()) == 1, "an entry that is changed in place changes no other"
    assert run.opt.state_bytes() == sum(p.param.numel() * 8 for p in run.opt.handles)
