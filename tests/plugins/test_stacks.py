"""Tensors that hold the matrices of all experts of a block: each a matrix of its own, or refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from zobench_plugins.estimators.hizoo_l import HiZOOL
from zobench_plugins.estimators.loren import LOREN
from zobench_plugins.estimators.lozo import LOZO
from zobench_plugins.estimators.lozo_m import LOZOM
from zobench_plugins.estimators.p_gap import PGAP
from zobench_plugins.estimators.subzero import SubZero
from zobench_plugins.estimators.subzero_plus import SubZeroPlus, coordinates
from zobench_plugins.estimators.zo_mopi import ZOMOPI
from zobench_plugins.estimators.zo_muon import ZOMuon

from zobench import Objective, Scope, ZobenchError
from zobench.directions.handle import Handle

NAME = "model.layers.0.mlp.experts.gate_up_proj"


def moved(cls, name=NAME, steps=1, **settings):
    """What steps moved a tensor of three 6 x 5 matrices by, with slope 1 along every direction."""
    w = nn.Parameter(torch.zeros(3, 6, 5, dtype=torch.float64))
    opt = cls(Scope([(name, w)]), lr=1.0, engine="flat", **settings)
    seen = []

    def loss():
        seen.append(0)
        return torch.tensor(1e-3 if len(seen) % 2 else -1e-3, dtype=torch.float64)

    for _ in range(steps):
        opt.step(loss)
    opt.settle()
    return w.detach()


@pytest.mark.parametrize("cls", [LOZO, LOZOM])
def test_every_expert_has_a_direction_of_low_rank_of_its_own(cls):
    d = moved(cls, rank=2)
    assert torch.linalg.matrix_rank(d).tolist() == [2, 2, 2]
    assert int(torch.linalg.matrix_rank(d.flatten(0, 1))) == 5, "no factor is shared"
    d = moved(cls, rank=2, nu=3, steps=3)
    assert torch.linalg.matrix_rank(d).tolist() == [2, 2, 2], "V is held, one for each expert"


@pytest.mark.parametrize(
    ("cls", "settings"),
    [(SubZeroPlus, {"queries": 2, "update": "sgd"}), (PGAP, {"probes": 2})],
    ids=["subzero", "p_gap"],
)
def test_every_expert_has_a_subspace_of_its_own(cls, settings):
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.experts = nn.Parameter(torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0)).double())

        def forward(self, x):
            return (x @ self.experts).tanh().sum()

    model, x = Experts(), torch.ones(1, 6, dtype=torch.float64)
    before = model.experts.detach().clone()
    opt = cls(Scope(model.named_parameters()), lr=1.0, engine="flat", rank=2, **settings)
    opt.step(Objective(model, lambda forward, b: forward(b), x, iter([x]), batched=False))
    opt.settle()
    d = model.experts.detach() - before
    assert torch.linalg.matrix_rank(d, atol=1e-9).tolist() == [2, 2, 2]
    assert int(torch.linalg.matrix_rank(d.flatten(0, 1), atol=1e-9)) == 5, "no factor is shared"


def test_a_tensor_of_three_axes_that_is_none_of_experts_is_no_matrix():
    d = moved(LOZO, name="model.layers.0.conv1d.weight", rank=2)
    assert torch.linalg.matrix_rank(d).tolist() == [5, 5, 5]


@pytest.mark.parametrize("cls", [SubZero, ZOMuon, ZOMOPI, HiZOOL, LOREN])
def test_methods_that_know_single_matrices_alone_say_so(cls):
    with pytest.raises(ZobenchError, match=f"{NAME} holds the matrices of all experts in one tensor.*without experts"):
        moved(cls)


@pytest.mark.parametrize(
    ("shape", "made"), [((4, 5), (2, 2)), ((3, 4, 5), (3, 2, 2)), ((3, 1, 5), (3, 1, 1)), ((7,), (7,))]
)
def test_coordinates_of_a_subspace_are_of_each_matrix_of_a_stack(shape, made):
    assert coordinates(2, Handle(NAME, nn.Parameter(torch.zeros(shape)), {})) == made
