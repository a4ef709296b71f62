"""Which items a run trains on, chooses on and is tested on: MeZO's rule (run.py, Framework; tasks.py, sample_subset).

The first k places of a permutation drawn from numpy's legacy generator. A generator of its own is used, so the global
numpy state, which the official noise draws step seeds from, never moves. Light: imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import ZobenchError
from .source import Pools


def sample(n: int, k: int, seed: int) -> list[int]:
    """The first min(k, n) places of the permutation of range(n) that numpy's RandomState(seed) draws."""
    return [int(i) for i in np.random.RandomState(seed).permutation(n)[:k]]


def demonstration_seeds(n: int, seed: int = 0) -> list[int]:
    """A seed for each of n evaluated items, where each gets demonstrations of its own (MeZO's in-context runs)."""
    return [int(s) for s in np.random.RandomState(seed).randint(0, 10000, n)]


@dataclass(frozen=True)
class Splits:
    """The items of a run, in the order sampled."""

    train: list[Mapping[str, Any]]
    dev: list[Mapping[str, Any]]
    test: list[Mapping[str, Any]]
    notes: dict[str, str]
    """What a reader of the record must know, such as a split that is smaller than was asked for."""
    indices: dict[str, list[int]] = field(default_factory=dict)
    """Places in the pools ("train" and "dev" in the training pool, "test" in the validation pool)."""
    pool: Sequence[Mapping[str, Any]] = ()
    """The training pool that train and dev were drawn from."""


def split(pools: Pools, *, num_train: int, num_dev: int, num_test: int, seed: int) -> Splits:
    """Train, dev and test by MeZO's rule: dev is the last num_dev of num_train + num_dev items, train what is before.

    A small pool shrinks train, never dev, and a note says so. Where that leaves nothing to train on, dev takes half of
    the pool instead, which is no longer MeZO's rule, and a note says so too. Raises ZobenchError for an empty split.
    """
    n, notes = len(pools.train), {}
    chosen = sample(n, num_train + num_dev, seed)
    if num_train > 0 and len(chosen) <= num_dev:
        notes["dev"] = (
            f"{n // 2} instead of {num_dev}: the training pool has {n} items; MeZO's rule would leave none to train on"
        )
        num_dev = n // 2
    cut = max(0, len(chosen) - num_dev)
    train, dev = chosen[:cut], chosen[cut:]
    test = sample(len(pools.validation), num_test, seed)
    for name, indices, wanted in (("train", train, num_train), ("test", test, num_test)):
        if wanted > 0 and not indices:
            raise ZobenchError(
                f"the data ({pools.data}) leave no item for {name}: they have {n} to train and choose on and "
                f"{len(pools.validation)} to test on"
            )
        if len(indices) < wanted:
            notes[name] = f"{len(indices)} instead of {wanted}: the pool is smaller"
    return Splits(
        [pools.train[i] for i in train],
        [pools.train[i] for i in dev],
        [pools.validation[i] for i in test],
        notes,
        {"train": train, "dev": dev, "test": test},
        pools.train,
    )
