"""A step that fails leaves the weights as they were, where they are held as float32 masters too."""

import pytest
import torch
from kits.toy_runs import Breaks, Run, same


@pytest.mark.parametrize("engine", ["flat", "deferred", "pair", "streamed"])
def test_an_error_in_the_middle_of_a_move_is_undone_in_masters_too(engine):
    run = Run(Breaks, engine=engine, precision="float32", dtype=torch.bfloat16, eps=0.1, lr=1.0)
    run.go(2)
    before, masters = run.weights(), {p.name: p.master.clone() for p in run.opt.handles}
    run.opt.bad = True
    with pytest.raises(RuntimeError, match="while computing fail.*layers.0.bias.*broken"):
        run.go(1)
    assert same({n: p.detach() for n, p in run.model.named_parameters()}, before)
    for p in run.opt.handles:
        torch.testing.assert_close(p.master, masters[p.name], rtol=1e-6, atol=1e-6)
