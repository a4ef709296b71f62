"""Which stems stand side by side: in rows about as long as the longest of them, so that little padding is left."""

from __future__ import annotations

from collections.abc import Sequence


def best_bins(sizes: Sequence[int], multiple: int) -> tuple[list[list[int]], int]:
    """Which stems share a bin, and the length of a bin.

    Several lengths from that of the longest stem upwards are tried; the one with the least padding is taken.
    """
    longest = max(sizes)
    lengths = {-(-longest * tried // 8 // multiple) * multiple for tried in range(8, 17)}
    found = {length: _bins(sizes, length) for length in sorted(lengths) if length >= longest}
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
