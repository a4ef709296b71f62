"""What methods refuse because it would make another method of them, and what their cells' identities say of changes."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from zobench_plugins.estimators.adamezo import AdaMeZO
from zobench_plugins.estimators.lozo import LOZO
from zobench_plugins.estimators.mezo import MeZO
from zobench_plugins.estimators.mezo_svrg import MeZOSVRG
from zobench_plugins.estimators.sparse_mezo import SparseMeZO
from zobench_plugins.estimators.subzero import SubZero
from zobench_plugins.estimators.zo_adamm import ZOAdaMM

from zobench import Scope, ZobenchError
from zobench.protocol.cell import raised
from zobench.settings import resolve


def planned(**changes):
    facts = dict(task="t", loss="loss", weight_decay=0.0, parameterisation="full", names=("w",))
    return SimpleNamespace(**{**facts, **changes})


def test_sparse_mezo_refuses_weight_decay_which_would_move_what_rests():
    settings = resolve(SparseMeZO, {})
    SparseMeZO.check(settings, planned())
    with pytest.raises(ZobenchError, match="weight decay would move entries outside the mask"):
        SparseMeZO.check(settings, planned(weight_decay=0.1))
    with pytest.raises(ZobenchError, match="weight decay would move entries outside the mask"):
        SparseMeZO(Scope([("w", nn.Parameter(torch.ones(3, 3)))]), lr=1.0, weight_decay=0.1)


@pytest.mark.parametrize("kind", ["lora", "prefix"])
def test_subzero_refuses_the_narrow_matrices_that_its_authors_reshape(kind):
    SubZero.check(resolve(SubZero, {}), planned())
    with pytest.raises(ZobenchError, match=f"the narrow matrices of parameterisation {kind} nearly square first"):
        SubZero.check(resolve(SubZero, {}), planned(parameterisation=kind))


def one_move(cls, **settings):
    """What one step moves a matrix and a vector by, where the slope is 1."""
    ps = {"w": nn.Parameter(torch.zeros(4, 3, dtype=torch.float64)), "b": nn.Parameter(torch.zeros(3).double())}
    opt = cls(Scope(ps.items()), lr=1.0, engine="flat", **settings)
    seen = iter([1e-3, -1e-3])
    opt.step(lambda: torch.tensor(next(seen), dtype=torch.float64))
    opt.settle()
    return {n: p.detach().clone() for n, p in ps.items()}


def test_lozo_moves_all_tensors_as_far_as_the_released_code_at_its_rates():
    """The paper's 1/r is on matrices alone, so that no one factor of the rate made both parts right."""
    released, paper = one_move(LOZO, rank=2), one_move(LOZO, rank=2, scale="paper")
    assert torch.equal(released["w"], 2 * paper["w"]) and torch.equal(released["b"], paper["b"])
    assert LOZO.lr_grid == (1e-7, 1e-6)


def test_svrg_has_the_rates_that_its_authors_search_and_is_not_called_verified():
    assert {1e-6, 1e-5} <= set(MeZOSVRG.lr_grid) and MeZOSVRG.verified is False


def test_cards_say_which_of_the_authors_scripts_has_the_fault():
    """ZO-AdaMM's two scripts differ in the root that the step is divided by."""
    assert {"universal.py", "imagenet_blackBox_attack2.py"} <= set(re.findall(r"\w+\.py", ZOAdaMM.public_code))


def test_a_change_of_a_method_changes_the_identity_of_the_cells_that_it_changes():
    assert raised(MeZO, resolve(MeZO, {})) == 0
    assert raised(AdaMeZO, resolve(AdaMeZO, {})) == 0, "the paper's form is what it was"
    assert raised(AdaMeZO, resolve(AdaMeZO, {"form": "released"})) == 1
    assert raised(LOZO, resolve(LOZO, {})) == 1
