"""`self.generator`: choices that are no directions are functions of the seed and the step."""

from __future__ import annotations

import torch
from torch import nn

from zobench import Estimator, Scope


class Chooses(Estimator):
    """Draws numbers, and no direction but one."""

    def iterate(self, losses):
        self.seen = [
            torch.rand(3, generator=self.generator(label, every=every)).tolist()
            for label, every in (("a", 1), ("a", 1), ("b", 1), ("held", 3))
        ]
        self.descend(self.noise())
        return losses.base()


def run(steps, seed=0, state=None, disturb=False):
    opt = Chooses(Scope([("w", nn.Parameter(torch.zeros(2)))]), lr=1e-3, seed=seed)
    if state is not None:
        opt.load_state_dict(state)
    out = []
    for _ in range(steps):
        if disturb:
            torch.manual_seed(len(out))
        opt.step(lambda: torch.tensor(1.0))
        out.append(opt.seen)
    return out, opt


def test_a_label_is_a_stream_a_step():
    seen, _ = run(7)
    assert all(a == again != b for a, again, b, _ in seen)
    assert len({str(a) for a, *_ in seen}) == 7
    held = [h for *_, h in seen]
    assert held[0] == held[1] == held[2] != held[3] == held[5] != held[6]


def test_nothing_but_seed_and_step_matters():
    seen, _ = run(4)
    kept = torch.get_rng_state()
    assert seen == run(4, disturb=True)[0] != run(4, seed=1)[0]
    torch.set_rng_state(kept)
    _, half = run(2)
    assert run(2, state=half.state_dict())[0] == seen[2:]


def test_it_moves_no_other_stream():
    _, opt = run(0)
    before = torch.get_rng_state()
    opt.step(lambda: torch.tensor(1.0))
    (w,) = (p.param.detach().clone() for p in opt.handles)
    assert torch.equal(before, torch.get_rng_state())

    class Silent(Estimator):
        def iterate(self, losses):
            self.descend(self.noise())
            return losses.base()

    alone = Silent(Scope([("w", nn.Parameter(torch.zeros(2)))]), lr=1e-3)
    alone.step(lambda: torch.tensor(1.0))
    assert torch.equal(w, alone.handles[0].param), "the direction is that of a method that chooses nothing"
