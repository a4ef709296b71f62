"""Learning to learn: perturbation networks from unrolled steps of ZO Fine-tuner, by backward passes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor

from zobench import Diverged, Handle, LoadedModel, Losses, NonNegative, Objective, Positive, Scope, ZobenchError, wide

from ..estimators.zo_fine_tuner import UNTRAINED, ZOFineTuner
from . import networks


class ScaleLearner(ZOFineTuner):
    """One step of learning: of every network by what one step of the method would give, then of the model by SGD.

    Paper: arXiv:2510.00419, learning to learn, as in the released code. With d and c of ZO Fine-tuner's step,
    theta' = theta - reach c d;  dL(theta')/ds_p = -reach c kappa <grad_p L(theta'), z_p>, with kappa, c and the scales
    of the step before held;  each network: w <- w - rate dL/ds_p ds_p/dw;
    then, on the same batch, m <- momentum m + clipped grad L(theta);  theta <- theta - lr m,
    so that the networks see the weights that a fine-tuning run goes through.

    Defaults: rate 0.1, reach 1e-6, momentum 0.8 (released README and code), clip 1 (transformers' trainer). Forwards a
    step: 4, of which 2 with a backward pass. State: m, one fp32 value a parameter, and the networks.
    """

    state_per_parameter: ClassVar[float] = 1.0
    moves_along_looks: ClassVar[bool] = False

    scales: str = UNTRAINED
    rate: Positive = 0.1
    """Learning rate of the networks."""
    reach: Positive = 1e-6
    """Learning rate of the step that is unrolled: that of the runs to come."""
    momentum: NonNegative = 0.8
    """Of the model's own steps."""
    clip: Positive = 1.0
    """The norm of the model's gradient is at most this."""

    def setup(self) -> None:
        super().setup()
        self.m = self.buffer("m")

    def iterate(self, losses: Losses) -> Tensor:
        told = {p.name: self.features(p) for p in self.active}
        s, z = self.compute(self.scale, name="s"), self.noise()
        kappa = self.kappa(s)
        d = kappa * (s * z)
        lp, lm = losses(+self.eps * d, -self.eps * d)
        c = (lp - lm) / (2 * self.eps)
        self.move(-self.reach * c * d)
        _, there = losses.gradient()
        for p, g, x in self.each(there, z):
            self.learn(p, told[p.name], -self.reach * c * kappa * (g * x).sum())
        self.move(self.reach * c * d)
        loss, gradient = losses.gradient()
        norm = torch.stack([wide(g).square().sum() for _, g in self.each(gradient)]).sum().sqrt()
        self.m.assign(self.momentum * self.m + (self.clip / norm.clamp(min=self.clip)) * gradient)
        self.descend(self.m)
        self.remember(s, lp, lm)
        return loss

    def learn(self, p: Handle, told: Tensor, slope: Tensor) -> None:
        """A step of one network, given dL/ds (0-dim) and the features (5,) that it gave s of."""
        network = self.networks[p.name]
        with torch.enable_grad():
            leaves = {part: t.detach().requires_grad_() for part, t in network.items()}
            s = networks.scale_of(leaves, told)
            gradients = torch.autograd.grad(s, list(leaves.values()), slope.to(s))
        for t, g in zip(network.values(), gradients, strict=True):
            t.sub_(self.rate * g)


def learn_scales(
    loaded: LoadedModel,
    objectives: Iterator[Objective],
    *,
    steps: int = 300,
    restart_every: int = 100,
    lr: float = 0.01,
    seed: int = 0,
    **settings: Any,
) -> tuple[dict[str, networks.Network], dict[str, Any]]:
    """Networks for every parameter of the model, learnt in runs of `restart_every` steps that all begin at its weights.

    lr: of the model's own SGD, falling linearly to 0 in every run. seed: of untrained networks and of the noise.
    settings: of ScaleLearner (rate, reach, eps, ...). One objective is taken a step. The model is as before afterwards.

    Returns the networks by the parameter's name, and the facts for the file, with each tensor's last scale. Raises
    ZobenchError for a model that is not in float32, numbers of steps below 1, too few objectives, or losses or networks
    that did not stay finite.
    """
    if min(steps, restart_every) < 1:
        raise ZobenchError(f"scales: steps={steps}, restart_every={restart_every}: both must be at least 1")
    if loaded.dtype != "float32":
        raise ZobenchError(f"scales: {loaded.name} is in {loaded.dtype}; load it in float32 to take gradients of it")
    named = list(loaded.model.named_parameters())
    start = {n: p.detach().to("cpu", copy=True) for n, p in named}
    learner = ScaleLearner(Scope(named), lr, seed=seed, seed_of_networks=seed, **settings)
    try:
        for done in range(0, steps, restart_every):
            if done:
                learnt, learner = learner.networks, ScaleLearner(Scope(named), lr, seed=seed + done, **settings)
                learner.networks = learnt
            _run(learner, objectives, min(restart_every, steps - done), lr / restart_every)
            _put_back(named, start)
    finally:
        _put_back(named, start)
    found = {n: networks.moved(one, torch.empty(0), torch.float32) for n, one in learner.networks.items()}
    if not all(bool(t.isfinite().all()) for one in found.values() for t in one.values()):
        raise ZobenchError("scales: the networks did not stay finite; lower rate or reach")
    facts = {
        "model": loaded.name,
        "revision": loaded.revision,
        "steps": steps,
        "restart_every": restart_every,
        "lr": lr,
        "seed": seed,
        "settings": dict(settings),
        "scales": {p.name: float(learner.before[p]) for p in learner.handles},
    }
    return found, facts


def _run(learner: ScaleLearner, objectives: Iterator[Objective], steps: int, fall: float) -> None:
    """So many steps, with a learning rate that falls by `fall` at each. Settles."""
    for step in range(steps):
        objective = next(objectives, None)
        if objective is None:
            raise ZobenchError("scales: there are fewer batches than steps")
        try:
            learner.step(objective)
        except Diverged as e:
            raise ZobenchError(f"scales: step {step} of a run saw a loss of {e.loss}; lower lr, rate or reach") from e
        for group in learner.param_groups:
            group["lr"] = max(0.0, group["lr"] - fall)
    learner.settle()


@torch.no_grad()
def _put_back(named: list[tuple[str, torch.nn.Parameter]], start: dict[str, Tensor]) -> None:
    for name, p in named:
        p.copy_(start[name])
