"""The state of an estimator as plain numbers and tensors, and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from ..errors import ZobenchError
from ..reserved import kept
from ..settings import settings_of

if TYPE_CHECKING:
    from .vocabulary import Vocabulary


def saved(est: Vocabulary) -> dict[str, Any]:
    """What must be saved beside the weights to go on bit for bit. Tensors are copies, on their devices."""
    est.settle()
    return {
        "estimator": type(est).__name__,
        "t": est.t,
        "seed": est.seed,
        "noise": {"name": est.source.name, **est.source.state()},
        "forwards": dict(est.forwards),
        "param_groups": [{k: v for k, v in g.items() if k != "params"} for g in est.param_groups],
        "buffers": {b.name: {n: x.clone() for n, x in b.store.items()} for b in est.buffers.values()},
        "masters": {p.name: p.master.clone() for p in est.handles if p.master is not None},
    }


def load(est: Vocabulary, s: dict[str, Any]) -> None:
    """Go on from a saved state. ZobenchError if it is of another estimator, noise, or parameters."""
    names = [p.name for p in est.handles]
    strangers = sorted({n for store in s["buffers"].values() for n in store} - set(names))
    if strangers:
        raise ZobenchError(f"the saved state has a buffer for {strangers[0]!r}, which is not in the scope")
    mine = {"estimator": type(est).__name__, "noise": est.source.name, "number of groups": len(est.param_groups)}
    theirs = {
        "estimator": s["estimator"],
        "noise": s["noise"]["name"],
        "number of groups": len(s["param_groups"]),
    }
    for what, value in mine.items():
        if theirs[what] != value:
            raise ZobenchError(f"the saved state has {what} {theirs[what]!r}, this estimator {value!r}")
    est.engine.settle()
    est._keep(t=s["t"], seed=s["seed"], forwards=Counter(s["forwards"]), settled_outside=True)
    est.source.seed = est.seed
    est.source.load_state(s["noise"])
    for g, saved in zip(est.param_groups, s["param_groups"], strict=True):
        g.update(saved)
    devices = {p.name: p.param.device for p in est.handles}
    for name, store in s["buffers"].items():
        values = {n: x.to(devices[n], copy=True) for n, x in store.items()}
        if name in est.buffers:
            est.buffers[name].load(values)
        else:
            est.unclaimed[name] = values
    est.engine.load_masters(est.handles, s["masters"])


def plain_attributes(est: Vocabulary, base: type) -> dict[str, Any]:
    """Plain values (numbers, text, tensors) that a method stores on itself, beside settings and buffers.

    State belongs into buffers, which `saved` includes; a method with state in attributes is saved and restored too.
    base: zobench's Estimator.
    """
    cores = kept("estimators", base) | set(settings_of(type(est)))
    return {k: v for k, v in vars(est).items() if k not in cores and not k.startswith("_") and _plain(v)}


def _plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return type(value) is dict and all(isinstance(k, str | int) and _plain(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return type(value) in (list, tuple) and all(map(_plain, value))
    return value is None or type(value) in (bool, int, float, str, torch.Tensor)
