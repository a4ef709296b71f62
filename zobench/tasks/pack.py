"""Which stems stand side by side: in rows about as long as the longest of them, so that little padding is left."""

from __future__ import annotations

from collections.abc import Sequence

FINE, COARSE = 4, 1
"""Rungs an octave: of what costs computation, and of what does not."""


def rung(n: int, per_octave: int) -> int:
    """The least number from n (at least 1) upwards on a ladder with so many rungs an octave.

    With four they are 1, 2, 3 ... 8, 10, 12, 14, 16, 20 ...
    """
    step = max(1, (1 << n.bit_length() - 1) // per_octave)
    return -(-n // step) * step


def best_bins(sizes: Sequence[int], multiple: int, *, few: bool = False) -> tuple[list[list[int]], int]:
    """Which stems share a bin, and the length of a bin.

    Several lengths from that of the longest stem upwards are tried; the one with the least padding is taken.
    few: lengths and numbers of bins are on a ladder, so that batches have few shapes; bins may be empty then.
    """
    longest = max(sizes)
    lengths = {-(-longest * tried // 8 // multiple) for tried in range(8, 17)}
    lengths = {(rung(n, FINE) if few else n) * multiple for n in lengths}
    found = {length: _bins(sizes, length) for length in sorted(lengths) if length >= longest}
    if few:
        found = {length: bins + [[]] * (rung(len(bins), FINE) - len(bins)) for length, bins in found.items()}
    best = min(found, key=lambda length: (len(found[length]) * length, length))
    return found[best], best


def _bins(sizes: Sequence[int], capacity: int) -> list[list[int]]:
    """Best fit: the largest first, each where it leaves least room."""
    room: list[int] = []
    inside: list[list[int]] = []
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        fitting = [n for n, left in enumerate(room) if left >= sizes[index]]
        if fitting:
            chosen = min(fitting, key=room.__getitem__)
        else:
            chosen = len(room)
            room.append(capacity)
            inside.append([])
        room[chosen] -= sizes[index]
        inside[chosen].append(index)
    return inside
