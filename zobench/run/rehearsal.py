"""Whether an estimator can be computed as a cell asks: tried on a few small tensors, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..engine import AUTO, engine_class
from ..engine.objective import Objective
from ..errors import ZobenchError
from ..scopes.scope import Scope

if TYPE_CHECKING:
    from ..estimator.estimator import Estimator
    from ..estimator.log import StepLog
    from ..protocol.protocol import Computation

STEPS = 2
USUAL: Mapping[str, Any] = {"noise": "per_tensor", "restore": "exact", "precision": "native", "engine": "flat"}
"""What every method can be computed with, in the order in which it is put in the place of what was asked for."""
_KNOWN: dict[tuple[str, ...], str] = {}


class _Small(nn.Module):
    """An embedding, two blocks of a norm, linear layers and biases, and a head: the kinds of tensors of a decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(8, 4)
        self.layers = nn.ModuleList(_Block() for _ in range(2))
        self.lm_head = nn.Linear(4, 8, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed_tokens(ids)
        for block in self.layers:
            x = block(x)
        out: Tensor = self.lm_head(x)
        return out


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(4)
        self.self_attn = nn.ModuleDict({name: nn.Linear(4, 4) for name in ("q_proj", "v_proj")})
        self.mlp = nn.ModuleDict({"up_proj": nn.Linear(4, 6), "down_proj": nn.Linear(6, 4)})

    def forward(self, x: Tensor) -> Tensor:
        y = self.input_layernorm(x)
        x = x + self.self_attn["q_proj"](y) * self.self_attn["v_proj"](y).tanh()
        out: Tensor = x + self.mlp["down_proj"](self.mlp["up_proj"](x).tanh())
        return out


def check(
    name: str, cls: type[Estimator], settings: Mapping[str, Any], asked: Computation, *, kind: str, drawn: bool
) -> None:
    """ZobenchError, with what to leave out, for a computation that the method fails with and without which it runs.

    kind: the parameterisation that holds. drawn: a step's noise can be held, so that it is drawn once.
    """
    if all(getattr(asked, key) in (value, AUTO) for key, value in USUAL.items()):
        return
    fault = failure(cls, settings, asked, kind=kind, drawn=drawn)
    if not fault or failure(cls, settings, replace(asked, **USUAL), kind=kind, drawn=drawn):
        return  # what is no matter of the computation shows in the cell
    for key, value in USUAL.items():
        said = getattr(asked, key)
        if said not in (value, AUTO) and not failure(
            cls, settings, _narrow(replace(asked, **{key: value})), kind=kind, drawn=drawn
        ):
            raise ZobenchError(f"estimator {name} cannot be computed with {key}={said}: {fault}; leave it out")
    every = ", ".join(f"{key}={getattr(asked, key)}" for key in USUAL if getattr(asked, key) != AUTO)
    raise ZobenchError(f"estimator {name} cannot be computed with {every}: {fault}; leave these out")


def wide(cls: type[Estimator], settings: Mapping[str, Any]) -> bool:
    """Whether its steps see more than losses: activations or gradients. False where it cannot be tried so."""
    steps: list[StepLog] = []
    return not _tried(cls, settings, USUAL, "full", drawn=True, steps=steps) and any(step.wide for step in steps)


def failure(
    cls: type[Estimator], settings: Mapping[str, Any], asked: Computation, *, kind: str = "full", drawn: bool = True
) -> str:
    """What goes wrong in two steps on small tensors, in a line; empty where nothing does, or it cannot be tried so."""
    if kind not in ("full", "lora"):
        return ""
    at = {key: getattr(asked, key) for key in USUAL}
    at = {key: USUAL[key] if value == AUTO else value for key, value in at.items()}
    at["restore"] = engine_class(at["engine"]).restored(at["restore"])
    key = (cls.__module__, cls.__qualname__, str(sorted(settings.items())), str(sorted(at.items())), kind, str(drawn))
    if key not in _KNOWN:
        _KNOWN[key] = _tried(cls, settings, at, kind, drawn=drawn)
    return _KNOWN[key]


def _narrow(asked: Computation) -> Computation:
    """The same with a restore and a precision that its engine knows."""
    if asked.engine == AUTO:
        return asked
    engine = engine_class(asked.engine)
    precision = asked.precision if asked.precision in engine.precisions else engine.precisions[0]
    return replace(asked, restore="auto", precision=precision)  # type: ignore[arg-type]


def _tried(
    cls: type[Estimator],
    settings: Mapping[str, Any],
    at: Mapping[str, Any],
    kind: str,
    *,
    drawn: bool,
    steps: list[StepLog] | None = None,
) -> str:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _Small()
    ids = torch.arange(6).reshape(2, 3)

    def more() -> Iterator[Tensor]:
        while True:
            yield ids

    named = [(n, p) for n, p in model.named_parameters() if kind == "full" or p.ndim == 2]
    together = engine_class(at["engine"]).together
    try:
        made = cls(Scope(named), lr=1e-6, **at, **settings)
        if not drawn:
            made.engine.drawn_bytes = 0
        for _ in range(STEPS):
            made.step(Objective(model, _loss, ids, more(), batched=together, examples=_examples))
        made.settle()
        if steps is not None:
            steps += made.log
    except KeyboardInterrupt:
        raise
    except BaseException as e:  # whatever a plugin raises: where that is no matter of the computation, its cell tells
        return (str(e).strip().splitlines() or [type(e).__name__])[0]
    return ""


def _examples(ids: Tensor) -> list[Tensor]:
    return [ids[i : i + 1] for i in range(len(ids))]


def _loss(forward: Any, ids: Tensor) -> Tensor:
    ids = ids.reshape(-1, 3)
    loss: Tensor = nn.functional.cross_entropy(forward(ids).flatten(0, 1), ids.flatten())
    return loss
