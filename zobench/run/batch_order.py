"""Which training examples a step sees: MeZO's order, from a generator of its own."""

from __future__ import annotations

from collections.abc import Iterator

import torch


def batches(n: int, batch_size: int, seed: int) -> Iterator[list[int]]:
    """Indices into n training examples, batch after batch, for ever.

    As the official loop draws them (protocol, section 6; princeton-nlp/MeZO with transformers 4.28.1): the sampler's
    own seed is the first int64 of a generator seeded with `seed`; every epoch is one permutation, and one more is
    drawn and thrown away at its end; the last short batch of an epoch is kept.
    """
    sampler = torch.Generator().manual_seed(_sampler_seed(seed))
    while True:
        order = torch.randperm(n, generator=sampler).tolist()
        for start in range(0, n, batch_size):
            yield order[start : start + batch_size]
        torch.randperm(n, generator=sampler)


def _sampler_seed(seed: int) -> int:
    first = torch.Generator().manual_seed(seed)
    return int(torch.empty((), dtype=torch.int64).random_(generator=first).item())
