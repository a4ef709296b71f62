"""A small MeZO, a small model and a run of them: what the tests of core and engines share."""

import copy
import itertools

import torch
from torch import nn

from zobench import Estimator, Objective, Positive, Scope

ENGINES = ("official", "flat", "deferred", "pair", "streamed")
MODES = [(e, r) for e in ("flat", "deferred") for r in ("exact", "arithmetic")] + [
    ("official", "exact"),
    ("official_fused", "exact"),
    ("pair", "exact"),
    ("streamed", "exact"),
]


class MeZO(Estimator):
    eps: Positive = 1e-3

    def iterate(self, losses):
        z = self.noise()
        lp, lm = losses(+self.eps * z, -self.eps * z)
        self.descend((lp - lm) / (2 * self.eps) * z)
        return lp


class Breaks(MeZO):
    """Once `bad`, fails at its second tensor, while it looks or moves."""

    bad = False
    where = "move"

    def fail(self, x):
        if self.bad and x.shape == (8,):
            raise RuntimeError("broken")
        return x

    def iterate(self, losses):
        z = self.noise()
        c = losses.slope(z, self.eps)
        if self.where == "look":
            losses(self.eps * self.noise().map(self.fail))
        else:
            self.descend(c * z.map(self.fail))


class Adaptive(Estimator):
    """Momentum, a diagonal scale, held noise, partial directions: all that a method may keep."""

    eps: Positive = 1e-3

    def setup(self):
        self.m = self.buffer("m")
        self.h = self.buffer("h", init=1.0)
        self.size = self.buffer("size", init=lambda p: p.data.abs().mean())

    def iterate(self, losses):
        held = self.noise("rademacher", every=3, label="held")
        z = self.noise() / self.h.sqrt() + 0.5 * held
        l0, lp, lm = losses(0, self.eps * z, -self.eps * z)
        c = (lp - lm) / (2 * self.eps)
        self.h.assign(0.9 * self.h + 0.1 * (1 + (lp + lm - 2 * l0).abs() * z.square()))
        self.m.assign(0.9 * self.m + c * (self.size * z))
        self.descend(self.m / self.h.sqrt())
        return l0


class Net(nn.Module):
    sizes = (6, 8, 8, 3)

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*of) for of in itertools.pairwise(self.sizes))

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.tanh(layer(x))
        return self.layers[-1](x)


def cross_entropy(forward, batch):
    return nn.functional.cross_entropy(forward(batch[0]), batch[1])


class Run:
    """A model, an estimator, and a batch for every step."""

    net = Net

    def __init__(self, method=MeZO, *, dtype=torch.float64, scope=None, lr=1e-2, batched=False, plain=False, **kw):
        torch.manual_seed(0)
        self.model, self.dtype, self.batched, self.plain = self.net().to(dtype).eval(), dtype, batched, plain
        named = list(self.model.named_parameters())
        self.start = {n: p.detach().clone() for n, p in named}
        self.opt = method(scope(named) if scope else named, lr=lr, **kw)

    def batch(self, step):
        g = torch.Generator().manual_seed(1000 + step)
        return torch.randn(5, 6, generator=g).to(self.dtype), torch.randint(0, 3, (5,), generator=g)

    def objective(self, step):
        extra = (self.batch(10_000 + 100 * step + k) for k in itertools.count())
        full = Objective(self.model, cross_entropy, self.batch(step), extra, self.batched)
        return (lambda: full()) if self.plain else full

    def go(self, steps):
        return [float(self.opt.step(self.objective(self.opt.t))) for _ in range(steps)]

    def weights(self):
        self.opt.settle()
        return {n: p.detach().clone() for n, p in self.model.named_parameters()}

    def state(self):
        return copy.deepcopy(self.opt.state_dict())


def layer(index):
    return lambda named: Scope([(n, p) for n, p in named if f"layers.{index}." in n], layers=(index,))


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def apart(a, b):
    return max(float((a[n].double() - b[n].double()).abs().max()) for n in a)
