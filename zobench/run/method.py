"""An estimator put on a model for a while: parameterisation, scope, engine; afterwards the model is as it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from ..devices import GPUS, free, free_for, spread
from ..engine import choose, engine_class
from ..errors import ZobenchError
from ..models.compiled import compiled
from ..parameterisations import attach
from ..protocol.protocol import narrowed
from ..report.record import EngineSettings, Observed
from .computed import draws

if TYPE_CHECKING:
    from torch import Tensor

    from ..estimator.estimator import Estimator
    from ..models.blocks import Block
    from ..models.load import LoadedModel
    from ..protocol.protocol import Computation
    from ..scopes.scope import Scope

T = TypeVar("T")


@dataclass(frozen=True)
class Method:
    """What a user picked by name, with its settings: enough to put it on any scope of any model."""

    cls: type[Estimator]
    settings: Mapping[str, Any]
    computation: Computation
    weight_decay: float = 0.0
    free: int | None = None
    """Bytes of memory that `engine=auto` and `restore=auto` may reckon with, so that all probes of a cell choose alike;
    None: those that are free when it is put on a model."""

    @property
    def parameterisation(self) -> str:
        """`full` or `lora`: the run's wish, else the estimator's own."""
        asked = self.computation.parameterisation
        return self.cls.parameterisation if asked == "estimator" else asked

    def settled(self, info: EngineSettings) -> Method:
        """The same with the engine and restore that `auto` resolved to: a cell chooses once, for all its runs."""
        became: Any = {"engine": info["engine"], "restore": info["restore"]}
        return replace(self, computation=replace(self.computation, **became))

    @classmethod
    def official(cls, estimator: type[Estimator], like: Computation) -> Method:
        """An estimator as MeZO computes it: all weights as they are, in the official order and arithmetic."""
        computation = replace(
            like,
            engine="official",
            noise="official",
            restore="arithmetic",
            precision="native",
            parameterisation="full",
        )
        return cls(estimator, {}, narrowed(computation))


@dataclass
class Applied:
    """An estimator that stands ready on a model."""

    estimator: Estimator
    scope: Scope
    info: EngineSettings
    """The engine settings that were chosen."""
    drawn: Observed
    """What draws the noise: with `info`, all that a replay must find again."""
    compiled: Observed
    """What was compiled, where that was asked for."""

    def put(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy these values into the scope, as they are (a checkpoint)."""
        with torch.no_grad():
            for handle in self.estimator.handles:
                handle.param.copy_(tensors[handle.name])


@contextmanager
def applied(
    method: Method,
    loaded: LoadedModel,
    scope: Scope,
    *,
    lr: float,
    seed: int,
    keep: Callable[[Tensor], Tensor],
    start: Mapping[str, Tensor] | None = None,
) -> Iterator[Applied]:
    """The method on the model, its scope ready to move; on leaving, the model is bit for bit as it was before.

    start: copies of the model's weights as they are now, by name, where there are some: these are not copied again.
    """
    own_kind = method.parameterisation == method.cls.parameterisation  # of another its settings may have the names
    settings = method.settings if own_kind else {}
    free = _free(method, loaded)
    if free is not None:
        _ = loaded.parameters  # counted, and kept, before anything stands on the model
    parameterisation = attach(method.parameterisation, loaded.model, scope, seed=seed, settings=settings)
    own = parameterisation.scope
    theirs = {name: p for name, p in scope.named if start is not None and name in start}
    own.named[:] = ordered(own.named, method.computation.tensor_order)
    original: dict[str, Tensor] = {}
    try:
        known = start or {}
        original.update((name, known[name] if p is theirs.get(name) else keep(p.detach())) for name, p in own.named)
        info = _engine(method, own, loaded, free)
        estimator = method.cls(
            own,
            lr,
            method.weight_decay,
            engine=info["engine"],
            noise=info["noise"],
            restore=info["restore"],
            precision=info["precision"],
            seed=seed,
            **method.settings,
        )
        blocks = _to_compile(method.computation, own, loaded, info)
        with compiled(blocks or []):
            seen: Observed = {} if blocks is None else {"compiled": len(blocks)}
            yield Applied(estimator, own, info, draws(info["noise"], loaded.device.type), seen)
    finally:
        with torch.no_grad():
            for name, p in own.named:
                if name in original:  # else memory ran out while it was kept: nothing has moved yet
                    p.copy_(original[name])
        parameterisation.detach()


def ordered(named: Sequence[tuple[str, T]], how: str) -> list[tuple[str, T]]:
    """The tensors of a scope in the order in which an official noise stream meets them.

    `model`: as `named_parameters` gives them. `transformers-4`: LLaMA-like MLPs as transformers 4 registered them,
    gate, down, up, where version 5 has gate, up, down: the same seed gives another z (the recordings of the official
    code are of version 4.28.1).
    """
    out = list(named)
    if how == "transformers-4":
        for i in range(len(out) - 1):
            up, down = out[i][0], out[i + 1][0]
            if up.endswith("mlp.up_proj.weight") and down == up.replace("up_proj", "down_proj"):
                out[i], out[i + 1] = out[i + 1], out[i]
    return out


def _free(method: Method, loaded: LoadedModel) -> int | None:
    """The bytes by which engine and restore are chosen; None where the settings say both, as those of a replay do."""
    if "auto" not in (method.computation.engine, method.computation.restore):
        return None
    return free_of(loaded) if method.free is None else method.free


def _engine(method: Method, scope: Scope, loaded: LoadedModel, free: int | None) -> EngineSettings:
    wish = method.computation
    engine, restore = wish.engine, str(wish.restore)
    if free is not None:
        choice = choose(
            scope.numel(),
            loaded.parameters,
            free,
            layer_numel=_largest_block(loaded),
            itemsize=scope.named[0][1].element_size(),
            master=wish.precision == "float32",
            state=taken_bytes(method.cls, method.settings, [tuple(p.shape) for _, p in scope.named]),
        )
        engine = choice.engine if engine == "auto" else engine
        restore = choice.restore if restore == "auto" else restore
    return EngineSettings(
        engine=engine,
        restore=engine_class(engine).restored(restore),
        precision=wish.precision,
        noise=wish.noise,
        parameterisation=method.parameterisation,
        tensor_order=wish.tensor_order,
    )


def _to_compile(wish: Computation, scope: Scope, loaded: LoadedModel, info: EngineSettings) -> list[Block] | None:
    """The blocks to run compiled: all, but for those in which an engine runs modules on each point's own weights.

    None: that was not asked for.
    """
    if wish.compile == "off":
        return None
    own = {id(p) for _, p in scope.named} if engine_class(info["engine"]).replaces_weights else set[int]()
    return [block for block in loaded.blocks if own.isdisjoint(map(id, block.module.parameters()))]


def _largest_block(loaded: LoadedModel) -> int:
    """Parameters of the largest decoder block; 0 where the model has none that can be found."""
    try:
        return max(block.numel() for block in loaded.blocks)
    except ZobenchError:
        return 0


def scope_bytes(scope: Scope) -> int:
    """Bytes of the scope's tensors, each whole."""
    return sum(p.numel() * p.element_size() for _, p in scope.named)


def free_bytes(device: torch.device) -> int:
    """Memory that could still be taken on this device: of the GPU, or of the machine."""
    return free(device)


def free_of(loaded: LoadedModel) -> int:
    """Memory that could still be taken where the model lies; of several devices by the scarcest, at its share."""
    if loaded.device.type not in GPUS:
        return free_bytes(loaded.device)
    return free_for(spread(loaded.model))


def keeper(loaded: LoadedModel, size: int) -> Callable[[Tensor], Tensor]:
    """How tensors of `size` bytes in all are kept: on the device where four more copies fit, else on the host."""
    return kept(on_device=4 * size < free_of(loaded))


def kept(*, on_device: bool) -> Callable[[Tensor], Tensor]:
    """How tensors are kept: where they lie, or on the host."""
    return (lambda t: t.clone()) if on_device else (lambda t: t.to("cpu", copy=True))


def state_bytes(cls: type[Estimator], settings: Mapping[str, Any], scope: Sequence[tuple[int, ...]]) -> int:
    """Bytes of a method's state on tensors of these shapes, as the method declares it, in float32."""
    asked: Any = object.__new__(cls)
    vars(asked).update(settings)
    return int(4 * sum(asked.state_of(shape) for shape in scope))


IN_HAND_OF_STATE = 8
"""float32 tensors of the largest size that a step has in hand where a method keeps state: it is an expression over
several tensors, computed before it is added.
"""


def taken_bytes(cls: type[Estimator], settings: Mapping[str, Any], scope: Sequence[tuple[int, ...]]) -> int:
    """Bytes that a method needs for itself: its state, and temporary values of a step, one tensor at a time."""
    state = state_bytes(cls, settings, scope)
    return state + (IN_HAND_OF_STATE * 4 * max(map(math.prod, scope), default=0) if state else 0)
