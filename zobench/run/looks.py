"""What commands that look into a model are given: batches as a run sees them, and looks that displace one block."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..devices import wide
from ..estimator.estimator import Estimator
from ..plugins import declared
from ..protocol.protocol import Protocol, protocol_from
from ..scopes.scope import Scope
from ..settings import Positive, settings_of
from ..tasks.prepared import PreparedTask
from ..tasks.sampling import split
from .batch_order import batches

if TYPE_CHECKING:
    from torch import Tensor

    from ..estimator.losses import Losses
    from ..models.load import LoadedModel
    from ..plugins.registry import Plugins
    from ..tasks.batch import Batch
    from ..tasks.source import Pools


@dataclass(frozen=True)
class Sample:
    """What to look at: so many training examples of a task, of this preset's split, in the order of this seed."""

    task: str
    preset: str
    seed: int = 0
    batches: int = 4
    batch_size: int = 8


def sampled(sample: Sample, plugins: Plugins, pools: Pools, loaded: LoadedModel) -> tuple[PreparedTask, list[Batch]]:
    """The task, and the first batches of training as `zobench run` would see them with this preset and seed.

    Batches lie on the CPU. Raises ZobenchError for an item that cannot be rendered or encoded.
    """
    known = settings_of(Protocol)
    task, preset = plugins.task(sample.task), declared.preset(plugins, sample.preset)
    rules = protocol_from({k: v for k, v in preset.settings.items() if k in known})
    dev = task.num_dev if rules.num_dev is None else rules.num_dev
    splits = split(pools, num_train=rules.num_train, num_dev=dev, num_test=0, seed=rules.data_seed)
    prepared = PreparedTask(task, dataclasses.replace(splits, dev=[], test=[]), loaded, rules)
    order = batches(prepared.train_size, sample.batch_size, sample.seed)
    return prepared, [prepared.train_batch(next(order)) for _ in range(sample.batches)]


class BothSides(Estimator):
    """Losses at theta + eps z and theta - eps z, z a Gaussian direction of its seed; it never moves."""

    eps: Positive = 1e-3

    def iterate(self, losses: Losses) -> Tensor:
        """The first of them."""
        z = self.noise()
        plus, minus = losses(self.eps * z, -self.eps * z)
        self.seen = z, float(plus), float(minus)
        return plus

    def product(self, gradient: Mapping[str, Tensor]) -> float:
        """The inner product of the last direction with a gradient, by name, in float64 where the device has it."""
        values = ((p.name, self.seen[0].on(p)) for p in self.handles)
        return sum(float((wide(v) * wide(gradient[name])).sum()) for name, v in values if v is not None)


def block_scope(loaded: LoadedModel, index: int) -> Scope:
    """All parameters of one decoder block that a forward reaches."""
    names = set(loaded.blocks[index].parameter_names())
    return Scope([(name, p) for name, p in loaded.named_parameters() if name in names], layers=(index,))


def look(
    scope: Scope,
    objective: Callable[[], Tensor],
    *,
    seed: int,
    eps: float,
    gradient: Mapping[str, Tensor] | None = None,
) -> tuple[float, float, float | None]:
    """(loss at theta + eps z, loss at theta - eps z, z with the gradient), z the first direction of a run of `seed`.

    The weights are afterwards what they were, bit for bit.
    """
    looks = BothSides(scope, lr=0.0, seed=seed, check_finite=False, restore="exact", engine="flat", eps=eps)
    try:
        with torch.no_grad():
            looks.step(objective)
    finally:
        looks.settle()
    return *looks.seen[1:], None if gradient is None else looks.product(gradient)
