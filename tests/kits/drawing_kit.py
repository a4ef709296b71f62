"""What reading_kit lacks: held draws, signs, and runs of an estimator on its problem."""

from __future__ import annotations

import torch
from kits.reading_kit import Blocks, blake, objective

from zobench import Scope

EPS, LR = 1e-3, 1e-2


def held(label, epoch, name, shape, seed=0):
    """The Gaussian draw that a label holds in its epoch, for one tensor, in float64."""
    generator = torch.Generator().manual_seed(blake(blake(seed, "held", label, epoch), "gaussian", name))
    return torch.randn(shape, dtype=torch.float32, generator=generator).double()


def rademacher(step, number, name, shape, seed=0):
    """The draw of signs of that number (from 2 on) of a step, for one tensor, in float64."""
    own = blake(blake(seed, "step", step), number)
    generator = torch.Generator().manual_seed(blake(own, "rademacher", name))
    return torch.randint(0, 2, shape, dtype=torch.int8, generator=generator).double() * 2 - 1


def run(cls, steps=8, make=objective, scope=Scope, engine="pair", lr=LR, **settings):
    """The weights after so many steps, and the estimator."""
    model = Blocks()
    opt = cls(scope(model.named_parameters()), lr=lr, engine=engine, **settings)
    for k in range(steps):
        opt.step(make(model, k))
    opt.settle()
    return model.weights(), opt


class Resting(Scope):
    """The second layer rests in the steps 2 to 4."""

    def active(self, step):
        return lambda name: "layers.1." not in name or step not in (2, 3, 4)


def rests(name, step):
    """Whether this tensor rests in that scope's step."""
    return "layers.1." in name and step in (2, 3, 4)
