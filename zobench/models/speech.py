"""What a tokenizer does of itself, and whether its model knows all that it may say. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import ZobenchError

TEXTS = ("a", "The cat sat", "3 + 4 = 7")


@dataclass(frozen=True)
class Speech:
    """Facts of a tokenizer: see zobench.models.capabilities.Capabilities."""

    ends: list[int]
    beyond: int
    newline: bool

    @classmethod
    def of(cls, tokenizer: Any, rows: int) -> Speech:
        """Of this tokenizer with an embedding of so many rows; nothing is known of one that encodes no text."""
        if not hasattr(tokenizer, "encode"):
            return cls([], 0, False)
        newline = bool(tokenizer.encode("\n", add_special_tokens=False))
        return cls(list(appended(tokenizer)), len(_beyond(tokenizer, rows)), newline)


def appended(tokenizer: Any) -> tuple[int, ...]:
    """The ids that the tokenizer puts behind every text, such as an end of sequence."""
    if not hasattr(tokenizer, "encode"):
        return ()
    found = {_behind(_ids(tokenizer, text), _ids(tokenizer, text, add_special_tokens=False)) for text in TEXTS}
    return found.pop() if len(found) == 1 else ()


def _behind(whole: list[int], bare: list[int]) -> tuple[int, ...]:
    """What stands in `whole` behind the last place where it holds `bare`."""
    ends = [i + len(bare) for i in range(len(whole) - len(bare) + 1) if whole[i : i + len(bare)] == bare]
    return tuple(whole[ends[-1] :]) if ends and bare else ()


def check_ids(tokenizer: Any, rows: int, name: str) -> None:
    """ZobenchError where the tokenizer has ordinary tokens for which an embedding of so many rows has none.

    Special tokens beyond it are let be: no text has them, and rows are looked at when they are encoded.
    """
    beyond = _beyond(tokenizer, rows)
    special = {i for i, token in getattr(tokenizer, "added_tokens_decoder", {}).items() if token.special}
    ordinary = sorted(set(beyond) - special)
    if ordinary:
        raise ZobenchError(
            f"model {name}: its embedding has {rows} rows, and its tokenizer ids up to {ordinary[-1]} (such as "
            f"{beyond[ordinary[0]]!r}, {ordinary[0]}): the tokenizer is not this model's"
        )


def _beyond(tokenizer: Any, rows: int) -> dict[int, str]:
    """Id -> token of those that an embedding of so many rows does not have."""
    known = tokenizer.get_vocab() if hasattr(tokenizer, "get_vocab") else {}
    return {int(i): token for token, i in known.items() if i >= rows}


def _ids(tokenizer: Any, text: str, **how: Any) -> list[int]:
    return [int(i) for i in tokenizer.encode(text, **how)]
