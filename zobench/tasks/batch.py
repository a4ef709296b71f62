"""Rows to tensors: every row as it is, or what rows have in common once, padded on the left or packed.

The log-probabilities of a row's option take the row without its last token. Where options are one token long that is
the prompt alone, the same for all candidates of an example: its logits at the last position hold them all. Where it is
the beginning of what another row takes, that row's logits hold it too. A causal model gives the same log-probabilities
either way, up to rounding. Such a *stem* is passed over once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..devices import sent
from ..models.forward import Forward
from ..models.last_block import Places
from ..models.positions import side_by_side
from .encode import Encoded, Row
from .pack import COARSE, best_bins, rung
from .padding import padded

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """The rows of some examples, one after the other."""

    input_ids: Tensor
    """int64 (rows, length), padded on the left."""
    attention_mask: Tensor
    """int64 (rows, length): 0 where padding is."""
    option_len: Tensor
    """int64 (rows,)."""
    labels: Tensor
    """int64 (examples,): the gold candidate of each, 0 where there is none."""
    num_options: tuple[int, ...]
    """Rows of each example."""
    width: int
    """The largest `option_len`, an int so that no loss needs to look."""
    tokens: int
    """Tokens that are not padding."""
    golds: tuple[tuple[str, ...], ...] = ()
    """Accepted answers of each example."""
    lengths: tuple[int, ...] = ()
    """Tokens of each row, without padding: ints, as `options` are, so that nobody waits for a device to know them."""
    options: tuple[int, ...] = ()
    """`option_len` of each row."""
    shared: Stems | Packed | None = None
    """The same rows with shared prefixes only once, for losses that support it; None: losses are computed on the rows.
    """

    @property
    def rows(self) -> int:
        """Encoded sequences."""
        return self.input_ids.shape[0]

    @property
    def examples(self) -> int:
        """Examples, each of one row or more."""
        return len(self.num_options)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on `device`."""
        return replace(_moved(self, device), shared=None if self.shared is None else self.shared.to(device))

    def replicated(self) -> Batch:
        """The same batch, with losses over every row in full."""
        return self if self.shared is None else replace(self, shared=None)


@dataclass(frozen=True)
class Stem:
    """Token ids of one forward pass, and the rows whose logits it contains."""

    ids: tuple[int, ...]
    rows: tuple[int, ...]


@dataclass(frozen=True)
class PassedOver:
    """The stems of some rows in one pass, and where the log-probabilities of each row's option are in its logits."""

    place: Tensor
    """int64 (rows, width): for each option token, right-aligned, which of the places looked at predicts it."""
    targets: Tensor
    """int64 (rows, width): the ids of the option tokens."""
    inside: Tensor
    """bool (rows, width): False where the option is shorter."""
    stems: tuple[Stem, ...]
    """What was passed over."""
    begins: tuple[int, ...]
    """Where each of `stems` begins in the flattened ids."""
    flat: Tensor
    """int64 (tokens,): the places of all their tokens there, stem after stem."""

    @property
    def tokens(self) -> int:
        """Tokens of the stems, padding left out."""
        return len(self.flat)

    def to(self, device: torch.device | str) -> Self:
        """The same with its tensors on `device`."""
        return _moved(self, device)


@dataclass(frozen=True)
class Stems(PassedOver):
    """Stems padded on the left. `place` counts among the `last` positions."""

    input_ids: Tensor
    """int64 (stems, length)."""
    attention_mask: Tensor
    """int64 (stems, length)."""
    last: int
    """Number of final positions that contain all logits which are looked at."""
    stem: Tensor
    """int64 (rows, 1): the stem of each row."""

    def log_probs(self, forward: Forward) -> Tensor:
        """Log-probabilities (rows, width) of the option tokens, 0 outside the row's option: one pass over the stems."""
        found = F.log_softmax(forward.rows(self.input_ids, self.attention_mask, self.last), dim=-1)
        return torch.where(self.inside, found[self.stem, self.place, self.targets], 0)


@dataclass(frozen=True)
class Packed(PassedOver):
    """Stems packed side by side into bins, none attending to another, so that there is hardly any padding."""

    input_ids: Tensor
    """int64 (bins, length)."""
    position_ids: Tensor
    """int64 (bins, length)."""
    attention_mask: Tensor
    """bool (bins, 1, length, length): which tokens a token sees."""
    at: Tensor
    """int64 (n,): the places looked at in the flattened ids."""
    slot: Tensor
    """int64 (n,): the number of each place among those of its bin."""
    slots: int
    """How many places the fullest bin has."""

    def log_probs(self, forward: Forward) -> Tensor:
        """As those of Stems."""
        looked = Places(self.at, self.slot, self.slots, self.input_ids.numel())
        logits = forward.packed(self.input_ids, self.position_ids, self.attention_mask, looked)
        found = F.log_softmax(logits, dim=-1)
        return torch.where(self.inside, found[0, self.place, self.targets], 0)


def collate(
    encoded: Sequence[Encoded],
    pad_id: int,
    multiple: int = 8,
    most: int | None = None,
    *,
    shared: int = 0,
    packed: int = 0,
    few: bool = False,
) -> Batch:
    """All rows of the examples, padded on the left with `pad_id` to a multiple of `multiple` tokens.

    `most`: tokens that the model has positions for; padding stops there, where the multiple would go beyond.
    `shared`, `packed`: give the rows as stems too, padded to a multiple of this, or packed; 0: do not.
    `few`: packed ones padded on, so that batches have few shapes.
    """
    rows = [row for e in encoded for row in e.rows]
    ids, mask = padded([row.ids for row in rows], pad_id, multiple, most)
    return Batch(
        input_ids=ids,
        attention_mask=mask,
        option_len=torch.tensor([row.option_len for row in rows], dtype=torch.int64),
        labels=torch.tensor([e.gold or 0 for e in encoded], dtype=torch.int64),
        num_options=tuple(len(e.rows) for e in encoded),
        width=max(row.option_len for row in rows),
        tokens=sum(len(row.ids) for row in rows),
        golds=tuple(e.golds for e in encoded),
        lengths=tuple(len(row.ids) for row in rows),
        options=tuple(row.option_len for row in rows),
        shared=pack(rows, pad_id, packed, few=few) if packed else share(rows, pad_id, shared, most) if shared else None,
    )


def stems(rows: Sequence[Row]) -> list[Stem]:
    """The fewest stems that contain all rows, in the order of their first rows.

    In sorted order the extensions of a sequence follow it directly, so each is compared with its successor alone.
    """
    taken: list[tuple[tuple[int, ...], list[int]]] = []
    for number in sorted(range(len(rows)), key=lambda i: rows[i].ids[:-1], reverse=True):
        ids = rows[number].ids[:-1]
        if taken and taken[-1][0][: len(ids)] == ids:
            taken[-1][1].append(number)
        else:
            taken.append((ids, [number]))
    return sorted((Stem(ids, tuple(sorted(held))) for ids, held in taken), key=lambda stem: stem.rows[0])


def share(rows: Sequence[Row], pad_id: int, multiple: int = 1, most: int | None = None) -> Stems:
    """The rows as tensors of their stems; `multiple` and `most` as for `collate`."""
    held = stems(rows)
    ids, mask = padded([stem.ids for stem in held], pad_id, multiple, most)
    width = max(row.option_len for row in rows)
    stem, place, last = [0] * len(rows), [], 1
    for number, one in enumerate(held):
        for i in one.rows:
            stem[i] = number
            last = max(last, len(one.ids) + 1 - len(rows[i].ids) + rows[i].option_len)
    for row, number in zip(rows, stem, strict=True):
        before, option = width - row.option_len, len(row.ids) - row.option_len
        first = last - len(held[number].ids) + option - 1
        place.append([0] * before + list(range(first, first + row.option_len)))
    return Stems(
        input_ids=ids,
        attention_mask=mask,
        last=last,
        stem=torch.tensor(stem)[:, None],
        place=torch.tensor(place),
        **_options(rows, width),
        **_laid(held, [(number + 1) * ids.shape[1] - len(one.ids) for number, one in enumerate(held)]),
    )


def pack(rows: Sequence[Row], pad_id: int, multiple: int = 1, *, few: bool = False) -> Packed:
    """The rows as tensors of their stems, side by side in bins of a multiple of `multiple` tokens.

    few: bins, places looked at and the longest option are padded to rungs of a ladder. What is padded is what stands
    for nothing: bins of padding, the first place once more, places outside of options.
    """
    held = stems(rows)
    on = partial(rung, per_octave=COARSE) if few else int
    width = on(max(row.option_len for row in rows))
    bins, length = best_bins([len(one.ids) for one in held], multiple, few=few)
    ids, places, seen, begins = side_by_side([one.ids for one in held], bins, length, pad_id)
    looked: dict[int, int] = {}  # places in the flattened ids -> in the logits
    place = [[0] * width for _ in rows]
    for index, one in enumerate(held):
        for i in one.rows:
            option = len(rows[i].ids) - rows[i].option_len
            for k in range(rows[i].option_len):
                flat = begins[index] + option - 1 + k
                place[i][width - rows[i].option_len + k] = looked.setdefault(flat, len(looked))
    numbers: Counter[int] = Counter()  # of places, by bin
    slot = []
    for flat in looked:
        slot.append(numbers[flat // length])
        numbers[flat // length] += 1
    at, more = list(looked), on(len(looked)) - len(looked)
    return Packed(
        input_ids=ids,
        position_ids=places,
        attention_mask=seen,
        at=torch.tensor(at + at[:1] * more),
        slot=torch.tensor(slot + slot[:1] * more),
        slots=on(max(slot) + 1),
        place=torch.tensor(place),
        **_options(rows, width),
        **_laid(held, begins),
    )


def _laid(held: Sequence[Stem], begins: Sequence[int]) -> dict[str, Any]:
    """`stems`, `begins` and `flat` of stems that begin at these places."""
    places = [torch.arange(begin, begin + len(one.ids)) for one, begin in zip(held, begins, strict=True)]
    return {"stems": tuple(held), "begins": tuple(begins), "flat": torch.cat(places)}


def _options(rows: Sequence[Row], width: int) -> dict[str, Any]:
    """`targets` and `inside` of rows."""
    lengths = torch.tensor([row.option_len for row in rows])
    targets = [[0] * (width - row.option_len) + list(row.ids[len(row.ids) - row.option_len :]) for row in rows]
    return {"targets": torch.tensor(targets), "inside": torch.arange(width) >= width - lengths[:, None]}


def _moved(of: T, device: torch.device | str) -> T:
    """The same with its tensors on `device`."""
    tensors: dict[str, Any] = {name: value for name, value in vars(of).items() if isinstance(value, Tensor)}
    moved = {name: sent(value, device) for name, value in tensors.items()}
    return replace(of, **moved)  # type: ignore[type-var]
