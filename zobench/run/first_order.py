"""What a preset says of methods that descend gradients alone: their batches, and epochs in the place of steps."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..protocol.protocol import Computation, Protocol, protocol_from

if TYPE_CHECKING:
    from ..tasks.source import Pools
    from ..tasks.task import Task

LENGTHS = frozenset({"steps", "eval_every", "train_forwards", "train_seconds"})
"""Settings that say how long to train."""


@dataclass(frozen=True)
class FirstOrder:
    """The protocol and the computation of estimators that descend gradients. `epochs`: passes over the training
    examples; 0: as many steps as the protocol says.
    """

    protocol: Protocol
    computation: Computation
    epochs: int = 0

    @classmethod
    def of(
        cls, preset: Mapping[str, object], said: Collection[str], protocol: Protocol, computation: Computation
    ) -> FirstOrder:
        """What a preset adds for them (`Preset.first_order`) to a protocol of which the user, or the model, said some
        settings. Raises ZobenchError as `protocol_from`.
        """
        own = {key: value for key, value in preset.items() if key != "epochs" and key not in said}
        epochs = 0 if LENGTHS & set(said) else int(str(preset.get("epochs", 0)))
        return cls(protocol_from({**vars(protocol), **own}), computation, epochs)

    def over(self, examples: int) -> Protocol:
        """The protocol for so many training examples: evaluated after each epoch."""
        if not self.epochs:
            return self.protocol
        epoch = math.ceil(examples / self.protocol.batch_size)
        return replace(self.protocol, steps=self.epochs * epoch, eval_every=epoch)


def examples(task: Task, pools: Pools, protocol: Protocol) -> int:
    """Training examples of a task under this protocol."""
    from ..tasks.sampling import split

    dev = task.num_dev if protocol.num_dev is None else protocol.num_dev
    return len(split(pools, num_train=protocol.num_train, num_dev=dev, num_test=0, seed=protocol.data_seed).train)
