"""What the tests on the pretend device share: a tiny model on it and on the CPU, and one step of a method, watched."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from kits import pretend_cuda
from kits.run_kit import World, save_data, save_model

from zobench.models.load import load_model
from zobench.plugins.registry import Plugins, load_plugins
from zobench.protocol.protocol import computation_from, protocol_from
from zobench.run.method import Method, applied, keeper, scope_bytes
from zobench.run.prefix import prefixed
from zobench.run.selection import everything
from zobench.run.session import Session
from zobench.run.train import Feed
from zobench.scopes.scope import Scope

ROOT = Path(__file__).parents[3]
SIZES = {"num_train": 8, "num_dev": 4, "num_test": 4, "batch_size": 4, "steps": 4, "eval_every": 4, "max_new_tokens": 3}


@cache
def world() -> World:
    """A tiny model and small data, in a folder that lasts as long as the process."""
    folder = Path(tempfile.mkdtemp())
    return World(save_model(folder / "model"), save_data(folder / "data"))


@cache
def plugins() -> Plugins:
    return load_plugins()


@cache
def session(device: str, dtype: str = "float32") -> Session:
    """The tiny model on a device, with its data."""
    return Session(load_model(str(world().model), dtype=dtype, device=device, offline=True), plugins(), world().data)


@dataclass
class Steps:
    """Three steps of a method: their losses, the sum of the weights after them, and the counts of the last step."""

    losses: list[float]
    total: float
    rows: str
    together: bool
    waits: Counter[str]
    launches: int = 0
    events: int = 0
    copies: int = 0  # from the host, for which it waits


def scope_of(where: Session, name: str) -> Scope:
    """`full`, or `layer`: the last decoder block."""
    scope = everything(where.loaded)
    if name == "full":
        return scope
    names = set(where.loaded.blocks[-1].parameter_names())
    return Scope([(n, p) for n, p in scope.named if n in names], layers=(len(where.loaded.blocks) - 1,))


def steps(
    where: Session,
    estimator: str = "mezo",
    scope: str = "full",
    task: str = "copa",
    settings: Mapping[str, Any] | None = None,
    **computed: Any,
) -> Steps:
    """Three steps there; the last is watched."""
    cls, protocol = plugins().estimator(estimator), protocol_from(dict(SIZES))
    method = Method(cls, dict(settings or cls.needs), computation_from({"noise": "philox", **computed}))
    prepared, _ = where.prepared(task, protocol, method.computation.rows)
    chosen = scope_of(where, scope)
    prepared = prefixed(prepared, where.loaded, chosen, method.computation)
    keep = keeper(where.loaded, scope_bytes(chosen))
    with applied(method, where.loaded, chosen, lr=1e-4, seed=0, keep=keep) as on:
        on.estimator.timers.on = True
        feed = Feed(where.loaded, prepared, protocol.batch_size, 0)
        feed.batches_for(on.estimator)
        losses = [on.estimator.step(feed.objective()) for _ in range(2)]
        objective, before = feed.objective(), pretend_cuda.Event.alive
        with pretend_cuda.watched(ROOT) as waits:
            losses.append(on.estimator.step(objective))
            counts = pretend_cuda.native.counts()
        events = pretend_cuda.Event.alive - before
        on.estimator.settle()
        on.estimator.timers.take()
        total = sum(float(h.param.detach().cpu().double().abs().sum()) for h in on.estimator.handles)
    shown = [float(x) for x in losses]
    launches, copies = sum(counts["launches"].values()), counts["copies_to"]
    return Steps(shown, total, prepared.rows, feed.batched, waits, launches, events, copies)


def assert_as_on_the_cpu(dtype: str, **how: Any) -> None:
    """Three steps on the device have the CPU's losses, up to the last digit of the dtype, and lead to its weights."""
    there, here = (steps(session(device, dtype), dtype=dtype, **how) for device in ("cuda", "cpu"))
    last = 1e-6 if dtype == "float32" else torch.finfo(getattr(torch, dtype)).eps
    assert there.losses == pytest.approx(here.losses, rel=2.5 * last)
    assert there.total == pytest.approx(here.total, rel=last)
    assert (there.rows, there.together) == (here.rows, here.together)
