"""What one forward scores of many rows. Light: no torch."""

from __future__ import annotations

from collections.abc import Sequence


def parts(lengths: Sequence[int], rows: int, tokens: int = 0) -> list[slice]:
    """Sequences of these lengths, the longest first, in parts of `rows` each, or of as many more as have, padded, at
    most so many tokens.
    """
    out, start = [], 0
    while start < len(lengths):
        end = start + max(rows, tokens // max(1, lengths[start]))
        out.append(slice(start, end))
        start = end
    return out
