"""What a selector may look at: the model, training batches, probes (short runs judged on dev). Never a test item."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ..contracts.selector import ProbeResult, SelectionContext
from ..errors import ZobenchError
from ..scopes.scope import Scope
from .batch_order import batches as training_order
from .checksum import checksums
from .graphs import graphed
from .method import Method, applied, keeper, scope_bytes
from .past_run import pass_over
from .prefix import prefixed
from .train import on_device, train

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.blocks import Block
    from ..models.load import LoadedModel
    from ..protocol.protocol import Protocol
    from ..tasks.batch import Batch
    from ..tasks.prepared import PreparedTask
    from .diary import Diary
    from .unchanged import Guard


class RunSelectionContext(SelectionContext):
    """The run's implementation of zobench.contracts.selector.SelectionContext."""

    def __init__(
        self,
        loaded: LoadedModel,
        prepared: PreparedTask,
        method: Method,
        protocol: Protocol,
        *,
        lr: float,
        seed: int,
        progress: Callable[[str], None],
        guard: Guard | None = None,
        diary: Callable[[Mapping[str, Any], PreparedTask], Diary] | None = None,
    ) -> None:
        """diary: makes that of a probe, where the cell is written down."""
        self.loaded, self.seed = loaded, seed
        self.forwards: Counter[str] = Counter()
        self.facts: dict[str, Any] = {}
        self._prepared, self._method, self._protocol, self._lr = prepared, method, protocol, lr
        self._progress, self._guard, self._diary = progress, guard, diary

    @property
    def blocks(self) -> Sequence[Block]:
        return self.loaded.blocks

    def calibration(self, batches: int, batch_size: int) -> list[Batch]:
        order = training_order(self._prepared.train_size, batch_size, self.seed)
        return [on_device(self._prepared, self.loaded, next(order)) for _ in range(batches)]

    @torch.no_grad()
    def loss(self, batch: Batch) -> Tensor:
        self.count("calibration", 1)
        return self._prepared.loss(self.loaded.model, batch)

    def count(self, purpose: str, forwards: int) -> None:
        if not isinstance(purpose, str) or not isinstance(forwards, int) or forwards < 0:
            raise TypeError(
                f"context.count({purpose!r}, {forwards!r}): forwards are counted by a word, as a whole number"
            )
        self.forwards[purpose] += forwards

    def note(self, **facts: Any) -> None:
        self.facts.update(checked_facts(facts))

    def everything(self) -> Scope:
        return everything(self.loaded)

    def layers(self, *indices: int) -> Scope:
        return layers(self.loaded, indices)

    def probe(self, scope: Scope, steps: int, lr: float | None = None, *, metric: bool = False) -> ProbeResult:
        of_model(scope, self.loaded, "probe")
        lr = self._lr if lr is None else lr
        short = dataclasses.replace(self._protocol, steps=steps, eval_every=steps, train_forwards=0, train_seconds=0.0)
        keep = keeper(self.loaded, scope_bytes(scope))
        looked = prefixed(self._prepared, self.loaded, scope, self._method.computation)
        looked = graphed(looked, self.loaded, self._method.computation)
        key = {"probe": _named(scope), "steps": steps, "lr": lr, "metric": metric}
        diary = None if self._diary is None else self._diary(key, looked)
        if diary is not None and diary.ended is not None:
            pass_over(diary)
            return self._probed(scope, ProbeResult(**diary.ended["probe"]))
        with self._watched(), applied(self._method, self.loaded, scope, lr=lr, seed=self.seed, keep=keep) as on:
            if diary is not None:
                diary.begin()
            run = train(on.estimator, self.loaded, looked, short, lr=lr, seed=self.seed, keep=keep, diary=diary)
            forwards = run.eval_forwards + sum(on.estimator.forwards.values())
            score = None
            if metric and run.best_loss is not None:
                on.put(run.best)
                score = self._prepared.dev_score(self.loaded.model)
                forwards += score.forwards
        result = ProbeResult(
            dev_loss=float("inf") if run.best_loss is None else run.best_loss,
            n=self._prepared.dev_size,
            forwards=forwards,
            dev_metric=None if score is None else score.value,
            stderr=None if score is None else score.stderr,
        )
        if diary is not None:
            diary.end(run, probe=dataclasses.asdict(result))
            diary.drop_cache()
        return self._probed(scope, result)

    def _probed(self, scope: Scope, result: ProbeResult) -> ProbeResult:
        self.count("probe", result.forwards)
        self._progress(f"probe of blocks {list(scope.layers)}: dev loss {result.dev_loss:.4f}")
        return result

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Around a probe: what the model was before it is told from what the probe's method makes of it."""
        if self._guard is None:
            yield
            return
        self._guard.check("the selector, before a probe,")
        with self._guard.watching(f"a probe of estimator {self._method.cls.__name__}"):
            yield


def _named(scope: Scope) -> str:
    """What tells a scope from others: its kind, tensors and masks."""
    parts = [
        type(scope).__name__,
        *(name for name, _ in scope.named),
        *map(str, checksums(scope.masks.items()).items()),
    ]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()


def checked_facts(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts for the record, as they are. TypeError for what JSON does not know."""
    for name, fact in facts.items():
        try:
            json.dumps(fact)
        except (TypeError, ValueError) as e:
            raise TypeError(f"context.note({name}=...) takes what JSON knows, for the record: {e}") from e
    return facts


def of_model(scope: object, loaded: LoadedModel, said: str) -> Scope:
    """The scope that a selector chose, or probes, if it is one of this model. ZobenchError if it is not.

    said: who chose it, for the error.
    """
    if not isinstance(scope, Scope):
        what = "was asked for" if said == "probe" else "select returned"
        raise ZobenchError(f"{said}: {what} {type(scope).__name__}, not a zobench.Scope")
    own = dict(loaded.model.named_parameters(remove_duplicate=False))
    strange = [name for name, p in scope.named if own.get(name) is not p]
    if strange:
        raise ZobenchError(
            f"{said}: {strange[0]!r} of its scope is not the model's own parameter of that name; take both from "
            "context.loaded.model.named_parameters()"
        )
    return scope


def layers(loaded: LoadedModel, indices: Sequence[int]) -> Scope:
    """All parameters of these decoder blocks. ZobenchError for an index that the model does not have, and for none."""
    blocks = loaded.blocks
    for i in indices:
        if not 0 <= i < len(blocks):
            raise ZobenchError(f"{loaded.name} has decoder blocks 0 to {len(blocks) - 1}, not {i}")
    if not indices:
        raise ZobenchError("a scope of no decoder blocks has nothing to move; name at least one index")
    names = {name for i in set(indices) for name in blocks[i].parameter_names()}
    named = [(name, p) for name, p in loaded.model.named_parameters() if name in names]
    return Scope(named, layers=tuple(sorted(set(indices))))


def everything(loaded: LoadedModel) -> Scope:
    """All parameters that a forward over text reaches, tied ones once, in the order of `named_parameters`."""
    try:
        layers = tuple(block.index for block in loaded.blocks)
    except ZobenchError:  # all parameters are all parameters, also where no blocks are found
        layers = ()
    return Scope(loaded.named_parameters(), layers=layers)
