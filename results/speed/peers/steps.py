"""One training step over all weights, or over one decoder block, of zobench and of others, interleaved, one thread.

    python results/speed/peers/steps.py --model embedded,60m --tasks copa,sst2,squad --out steps.json

Sides: `mezo`, MeZO's step as its code has it (as zobench's engine `official`, without zobench around it); `official`,
that engine; `bare`, an in-place loop with logits at answers alone; `bare+z`, which keeps the step's noise;
`torchzero`, where it is installed; `zobench`, engine `auto`; `least`, what such a step cannot do without. All make the
same step (two points, learning rate 0) on the same batches of random tokens of real lengths; a side has turns of a few
steps, round after round. Fetches nothing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import machine, model_of, ratios, written
from torch import Tensor

from zobench.bench.lengths import shipped
from zobench.bench.sides import Side, Timing, objective, scope_of, standing
from zobench.bench.work import Work, made_up
from zobench.models.load import LoadedModel
from zobench.plugins.registry import load_plugins
from zobench.protocol.protocol import computation_from

EPS, LR = 1e-3, 0.0
Step = Callable[[Any], None]
SIDES = ("mezo", "official", "bare", "bare+z", "torchzero", "zobench", "least")


class MeZO:
    """zo_perturb_parameters, zo_forward, zo_step and zo_update of princeton-nlp/MeZO, large_models/trainer.py."""

    def __init__(self, named: list[tuple[str, Tensor]], loss: Callable[[Any], Tensor]) -> None:
        self.named, self.loss = named, loss

    def perturb(self, seed: int, factor: float) -> None:
        torch.manual_seed(seed)
        for _, p in self.named:
            z = torch.normal(mean=0, std=1, size=p.data.size(), device=p.data.device, dtype=p.data.dtype)
            p.data = p.data + factor * z * EPS

    def step(self, batch: Any) -> None:
        seed = int(np.random.randint(1_000_000_000))
        self.perturb(seed, 1)
        above = self.loss(batch)
        self.perturb(seed, -2)
        below = self.loss(batch)
        slope = ((above - below) / (2 * EPS)).item()
        self.perturb(seed, 1)
        torch.manual_seed(seed)
        for _, p in self.named:
            z = torch.normal(mean=0, std=1, size=p.data.size(), device=p.data.device, dtype=p.data.dtype)
            p.data = p.data - LR * (slope * z)


class Bare:
    """In place, three sweeps a step; the noise is drawn anew in each, or kept."""

    def __init__(self, named: list[tuple[str, Tensor]], loss: Callable[[Any], Tensor], *, keeps: bool) -> None:
        self.parameters, self.loss, self.keeps = [p for _, p in named], loss, keeps
        self.generator, self.steps = torch.Generator(), 0

    def noise(self, seed: int) -> Iterator[Tensor]:
        self.generator.manual_seed(seed)
        for p in self.parameters:
            yield torch.randn(p.shape, generator=self.generator, dtype=p.dtype)

    def step(self, batch: Any) -> None:
        self.steps += 1
        kept = list(self.noise(self.steps)) if self.keeps else None

        def add(factor: float) -> None:
            for p, z in zip(self.parameters, kept or self.noise(self.steps), strict=True):
                p.data.add_(z, alpha=factor)

        add(EPS)
        above = self.loss(batch)
        add(-2 * EPS)
        below = self.loss(batch)
        add(EPS - LR * float(above - below) / (2 * EPS))


class Least:
    """What no step of two points does without, and nothing else: two forwards over the rows that zobench passes over,
    its noise drawn once, and three passes over the weights, which keep no copy of them.
    """

    def __init__(self, named: list[tuple[str, Tensor]], loss: Callable[[Any], Tensor]) -> None:
        self.weights, self.loss = [p.data for _, p in named], loss
        self.generator, self.steps = torch.Generator(), 0

    def step(self, batch: Any) -> None:
        self.steps += 1
        self.generator.manual_seed(self.steps)
        noise = [torch.randn(w.shape, generator=self.generator, dtype=w.dtype) for w in self.weights]
        torch._foreach_add_(self.weights, noise, alpha=EPS)
        above = self.loss(batch)
        torch._foreach_add_(self.weights, noise, alpha=-2 * EPS)
        below = self.loss(batch)
        torch._foreach_add_(self.weights, noise, alpha=EPS - LR * float(above - below) / (2 * EPS))


def torchzero_step(named: list[tuple[str, Tensor]], loss: Callable[[Any], Tensor]) -> Step:
    """Randomised finite differences of torchzero, with a learning rate of 0."""
    import torchzero as tz

    for _, p in named:
        p.requires_grad_(True)  # it moves no others
    optimizer = tz.Optimizer([p for _, p in named], tz.m.MeZO(h=EPS, distribution="normal"), tz.m.LR(LR))

    def step(batch: Any) -> None:
        optimizer.step(lambda backward=True: loss(batch))

    return step


@contextmanager
def stands(name: str, loaded: LoadedModel, work: Work, scope: str, layer: int) -> Iterator[Step]:
    """What makes a step of this side on a batch. The weights move by rounding alone."""
    model = loaded.model
    if name in ("official", "zobench"):
        ours = name == "zobench"
        side = Side("auto" if ours else "official", scope, ours)  # type: ignore[arg-type]
        wish = computation_from({"rows": "packed", "noise": "per_tensor"})
        with standing(side, Timing(loaded, load_plugins().estimator("mezo"), layer, wish)) as (estimator, _):
            yield lambda batch: float(estimator.step(objective(side, work, loaded, batch))) and None
        return
    named = scope_of(Side("flat", scope, True), loaded, layer).named  # type: ignore[arg-type]

    def loss(batch: Any) -> Tensor:
        with torch.no_grad():
            rows = batch if name == "least" else batch.replicated()
            return (work.official if name == "mezo" else work.ours)(model, rows)

    if name == "mezo":
        yield MeZO(named, loss).step
    elif name == "least":
        yield Least(named, loss).step
    elif name == "torchzero":
        yield torchzero_step(named, loss)
        for _, p in named:
            p.requires_grad_(False)
    else:
        yield Bare(named, loss, keeps=name == "bare+z").step


def timed(loaded: LoadedModel, work: Work, names: list[str], scope: str, rounds: int, turn: int) -> dict[str, Any]:
    """Median process seconds of a step of each side, and how often it is faster than the others."""
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):  # the first warms up
        for name in names[number % len(names) :] + names[: number % len(names)]:
            with stands(name, loaded, work, scope, min(1, len(loaded.blocks) - 1)) as step:
                step(work.batches[0])
                for i in range(turn):
                    start = time.process_time()
                    step(work.batches[(number * turn + i) % len(work.batches)])
                    if number:
                        taken[name].append(time.process_time() - start)
    each = {name: statistics.median(seconds) for name, seconds in taken.items()}
    found = ratios(each, "zobench")
    if {"official", "least"} <= set(each):
        found["official takes times the least"] = round(each["official"] / each["least"], 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded,60m", help="embedded, 15m, 60m, or a folder; comma separated")
    parser.add_argument("--tasks", default="copa,sst2,squad")
    parser.add_argument("--scope", default="full", help="full, layer")
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turn", type=int, default=3, help="steps of a side before the next has its turn")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    sides, found = given.sides.split(","), {}
    if "torchzero" in sides:
        try:
            import torchzero  # noqa: F401
        except ImportError:
            sides.remove("torchzero")
    for name in given.model.split(","):
        loaded = model_of(name)
        for task in given.tasks.split(","):
            of = load_plugins().task(task)
            work = made_up(task, of.train_loss, shipped(task), loaded, batch_size=16, batches=given.rounds * given.turn)
            for scope in given.scope.split(","):
                found[f"{name} {task} {scope}"] = made = timed(loaded, work, sides, scope, given.rounds, given.turn)
                print(f"{name} {task} {scope}: {made}", flush=True)
    written(given.out, found, machine())


if __name__ == "__main__":
    main()
