"""What a model can do, measured on the model itself when it is loaded, by a few short forwards.

Every way in which rows may be passed over is compared with a row alone and unpadded, of which nothing but its ids is
said. Two ways agree when they differ by no more than the model's own noise: what it puts out differently for a row
when the row stands in a batch beside its copy, or when last bits are rounded otherwise.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import ZobenchError
from ..forwards import CACHES, unwatched
from .forward import Forward, Packing, Padding, Takes, dtype_of
from .last_block import Tail
from .lockstep import lockstep
from .speech import Speech
from .start_at_block import Cut
from .subject import Subject
from .trial import InBins, Laid, Padded, Row, apart, centred, full_precision, limit, rounded, rows_for, tried
from .window import window


@dataclass(frozen=True)
class Capabilities:
    """What one model, in its dtype on its device, can do."""

    causal: bool
    """Whether its output after a token depends on the tokens up to it alone."""
    padding: Padding
    """What padding on the left does to a row (see zobench.models.forward)."""
    window: int | None
    """Tokens that attention looks back at, in the layer with the shortest window; None: all."""
    packs: bool
    """Whether rows of at most `window` tokens can be packed into one, none attending to another."""
    last_block: bool
    """Whether, with packed rows, the last block can compute only the positions whose logits are read."""
    cuts: bool
    """Whether a forward pass can begin at a decoder block, given its input; tried at the last block."""
    points: bool
    """Whether one forward pass can evaluate several points, each a copy of the batch with its own weights."""
    cache: str | None
    """The name under which its output has the keys and values of earlier tokens. None: it has none, or generation from
    them differs from generation from the whole row.
    """
    ends: list[int]
    """Ids that its tokenizer appends to every text; rows are encoded without them."""
    beyond: int
    """Ids of its tokenizer for which the embedding has no row: all of special tokens, else it is not loaded."""
    newline: bool
    """Whether its tokenizer has a token for a line break, which ends a generated answer."""
    unreached: list[str]
    """Modules and parameters that a forward pass over text does not use, the outermost of each. They are in no scope
    and not counted.
    """
    noise: float
    """Difference of its logits between two ways of computing the same, relative to their size."""

    def packing(self, loaded: Subject) -> Packing | None:
        """How this model is given packed rows; None: it cannot be."""
        packing = Packing.of(loaded.model) if self.packs else None
        return replace(packing, tail=Tail.of(loaded.blocks)) if packing and self.last_block else packing

    def packs_rows_of(self, length: int) -> bool:
        """Whether rows of up to so many tokens may be packed."""
        return self.packs and (self.window is None or self.window >= length)

    def record(self) -> dict[str, Any]:
        """As records have it (zobench.report.record.ModelCapabilities)."""
        return asdict(self)


class Known(Subject, Protocol):
    """A model that can be asked for what it can do: a LoadedModel."""

    @property
    def capabilities(self) -> Capabilities:
        """Measured when it is first asked for."""


def check_causal(loaded: Known) -> None:
    """ZobenchError for a model that is not causal."""
    if not loaded.capabilities.causal:
        raise ZobenchError(
            f"model {loaded.name}: {type(loaded.model).__name__} is not causal: what it says of a token depends on "
            "later ones, so that it would see the answers; choose a decoder"
        )


@torch.no_grad()
def measure(loaded: Known) -> Capabilities:
    """Measure what this model can do, with its hooks off. Raises what the device raises if memory runs out."""
    with unwatched(loaded.model):
        return _measured(loaded)


def _measured(loaded: Known) -> Capabilities:
    trial, speech = LayoutTrial(loaded), Speech.of(loaded.tokenizer, loaded.vocabulary)
    packing = trial.packing()
    return Capabilities(
        causal=trial.causal,
        padding=trial.padding,
        window=window(loaded),
        packs=packing is not None,
        last_block=packing is not None and packing.tail is not None,
        cuts=trial.cuts(),
        points=trial.points(packing),
        cache=trial.cache(),
        ends=speech.ends,
        beyond=speech.beyond,
        newline=speech.newline,
        unreached=loaded.unreached,
        noise=trial.noise,
    )


class LayoutTrial:
    """Short rows, the outputs of the model for each alone, and whether other layouts give the same outputs."""

    def __init__(self, loaded: Known) -> None:
        self.loaded, self.takes, self.rows = loaded, Takes.of(loaded.model), rows_for(loaded)
        self.dtype = dtype_of(loaded.model)
        self.plain = Forward(loaded.model, use_cache=self.takes.use_cache)
        self.alone = [self._bare(row)[0] for row in self.rows]
        self.finite = all(bool(one.isfinite().all()) for one in self.alone)
        longest, alone = self.rows[-1], self.alone[-1]
        beside = self._apart(self._bare(longest, longest)[1], alone)
        self.noise = max(beside, self._off(longest, alone))
        self.limit = limit(self.dtype, self.noise)
        self.causal = not self.finite or self._causal(longest, alone, limit(self.dtype, beside))
        self.padding: Padding = self._padding()
        self.forward = replace(self.plain, padding=self.padding)

    def _bare(self, *rows: Row) -> Tensor:
        """What is said of rows of one length without padding, (rows, length, vocabulary)."""
        return centred(self.plain.rows(torch.tensor(rows, device=self.loaded.device)))

    def _apart(self, *pairs: Tensor) -> float:
        """How far what is said of one row is from another, or of several: one, other, one, other."""
        return apart(pairs[::2], pairs[1::2], self.dtype)

    def _off(self, row: Row, alone: Tensor) -> float:
        """How far the row is from itself when last bits are rounded otherwise."""
        with rounded(self.loaded):
            return self._apart(self._bare(row)[0], alone)

    def _causal(self, row: Row, alone: Tensor, most: float) -> bool:
        """Whether what is said of a beginning of the row stays when the rest is another (then all is computed in the
        same way, and may be apart by `most`), and when it is not there.
        """
        half, short = len(row) // 2, len(self.rows[1])
        other = self._bare((*row[:half], *row[half + 1 :], self.rows[0][0]))[0]
        stays = self._apart(other[:half], alone[:half]) <= most
        return stays and self._apart(self.alone[1], alone[:short]) <= self.limit

    def _padding(self) -> Padding:
        rows = Padded.of(self.rows, self.loaded)
        if self._agree(rows, self.rows, self.plain):
            return "masked"
        if self.takes.position_ids and self._agree(rows, self.rows, replace(self.plain, padding="positions")):
            return "positions"
        return "seen"

    def _agree(self, laid: Laid, rows: list[Row], forward: Forward) -> bool:
        """Whether the model says of these beginnings of the rows what it says of them alone."""
        said = tried(partial(laid.said, forward))
        alone = [one[: len(row)] for one, row in zip(self.alone, rows, strict=True)]
        return said is not None and apart(said, alone, self.dtype) <= self.limit

    def packing(self) -> Packing | None:
        """How rows are packed for this model; None if packed rows give other outputs than each row alone."""
        packing = Packing.of(self.loaded.model) if self.takes.position_ids and self.finite else None
        if packing is None:
            return None
        rows = within_window(self.rows, self.loaded)
        laid, forward = InBins.of(rows, self.loaded), replace(self.plain, packing=packing)
        if not self._agree(laid, rows, forward) or not self._apart_in_bins(laid, rows, forward):
            return None
        tail = tried(lambda: Tail.of(self.loaded.blocks))
        own = replace(packing, tail=tail)
        return own if tail and self._agree(laid, rows, replace(forward, packing=own)) else packing

    def _apart_in_bins(self, laid: InBins, rows: list[Row], forward: Forward) -> bool:
        """Whether another first row leaves what is said of those after it."""
        other = InBins.of([rows[0][::-1], *rows[1:]], self.loaded)
        before, after = (one.said(forward)[1:] for one in (laid, other))
        if all(map(torch.equal, before, after)):
            return True
        return full_precision(self.dtype) and apart(after, before, self.dtype) <= self.limit

    def cuts(self) -> bool:
        """Whether the model can be cut below its last block, over rows as they are run."""
        blocks = tried(lambda: self.loaded.blocks)
        return blocks is not None and len(blocks) > 1 and cut_at(self.loaded, len(blocks) - 1, self.forward) is not None

    def points(self, packing: Packing | None) -> bool:
        """Whether points may be looked at in one forward: over padded rows, and over packed ones where these may be."""
        forward = replace(self.forward, packing=packing)
        ways = [False] if packing is None else [False, True]
        return self.finite and all(points_together(self.loaded, forward, way, self.limit) for way in ways)

    def cache(self) -> str | None:
        """The name of the cache of an output from which the last token of each row is as of the whole row."""
        return next((name for name in CACHES if tried(partial(self._continues, name))), None)

    def _continues(self, name: str) -> bool:
        forward = replace(self.forward, cache=name)
        rows = self.rows[-1:] if self.padding == "seen" else self.rows
        laid = Padded.of(rows, self.loaded)
        known = None if self.padding == "seen" else laid.mask
        _, past = forward.next(laid.ids[:, :-1], None if known is None else known[:, :-1], None)
        if past is None:
            return False
        said, _ = forward.next(laid.ids, known, past)
        want = [one[-1:] for one in self.alone[-len(rows) :]]
        return apart(list(centred(said)[:, None]), want, self.dtype) <= self.limit


def within_window(rows: list[Row], loaded: Subject) -> list[Row]:
    """The rows, each cut to the length that can be packed."""
    most = window(loaded)
    return [row[:most] for row in rows]


@torch.no_grad()
def points_together(loaded: Known, forward: Forward, packed: bool, most: float | None = None) -> bool:
    """Whether a forward over two copies of rows, each with all weights of its own, says of both what it says of one.

    Of the model as it now is, with what is attached to it. False for models that see padding, which take several calls,
    and for those with modules that have not the batch first, such as experts that are given the tokens chosen for them.
    most: how far the two may be apart; None: by the model's noise.
    """
    if forward.padding == "seen":
        return False
    rows = rows_for(loaded)
    laid: Laid = InBins.of(within_window(rows, loaded), loaded) if packed else Padded.of(rows, loaded)
    parameters = dict(loaded.named_parameters())
    dtype = dtype_of(loaded.model)
    bound = limit(dtype, loaded.capabilities.noise) if most is None else most

    def agree() -> bool:
        with lockstep(loaded.model, parameters, 2, lambda name: [parameters[name].detach()] * 2):
            both = laid.said(forward, 2)
        return apart(both, laid.said(forward) * 2, dtype) <= bound

    return bool(tried(agree))


@torch.no_grad()
def cut_at(loaded: Known, at: int, forward: Forward | None = None) -> Cut | None:
    """The model from block `at` on; None if a forward pass from there gives other outputs, or if padding changes
    outputs.
    """
    forward = Forward.of(loaded) if forward is None else forward
    if forward.padding == "seen":
        return None
    rows, cut = Padded.of(rows_for(loaded)[:2], loaded), Cut(loaded.blocks, at)

    def same() -> bool:
        with cut.seen() as seen:
            plain = torch.cat(rows.said(forward))
        with cut.given(lambda: seen[0]):
            again = torch.cat(rows.said(forward))
        with cut.given(lambda: torch.zeros_like(seen[0])):
            nothing = torch.cat(rows.said(forward))
        return torch.equal(plain, again) and not torch.equal(plain, nothing)

    return cut if tried(same) else None
