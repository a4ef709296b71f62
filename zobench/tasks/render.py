"""Examples of a task as a reader wants to see them: the text, what is scored, and the token ids. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .encode import Encoded, Encoder
from .task import Example, Task


def render_task(task: Task, items: Sequence[Mapping[str, Any]], encoder: Encoder | None = None) -> str:
    """The items as prompt and answers, quoted where blanks matter; with an `encoder` also as ids, options apart.

    Raises ZobenchError for an item that cannot be rendered or encoded.
    """
    return "\n".join(_one(task.render(item, index), index, encoder) for index, item in enumerate(items))


def _one(example: Example, index: int, encoder: Encoder | None) -> str:
    lines = [f"example {index}", "  prompt:", *(f"    | {line}" for line in example.prompt.split("\n"))]
    if example.generation:
        lines.append("  accepted answers: " + ", ".join(repr(g) for g in example.golds))
        lines.append(f"  trained on: {_added(example, 0)!r}")
    else:
        for number in range(len(example.texts)):
            right = "  <- right" if number in example.correct else ""
            lines.append(f"  option {number}: {_added(example, number)!r}{right}")
    if encoder is not None:
        lines += _rows("scored", encoder.encode(example))
        if example.generation:
            lines += _rows("trained on", encoder.encode(example, training=True))
    return "\n".join(lines) + "\n"


def _added(example: Example, number: int) -> str:
    """What a text adds to its prompt; the whole text where it does not begin with the prompt."""
    return example.texts[number].removeprefix(example.prompt)


def _rows(purpose: str, encoded: Encoded) -> list[str]:
    lines = []
    for number, row in enumerate(encoded.rows):
        cut = len(row.ids) - row.option_len
        prompt, option = _ids(row.ids[:cut]), _ids(row.ids[cut:])
        off = "" if row.stable else "; the prompt's ids do not begin this row's: the option may be a token off"
        lines.append(f"  row {number} ({purpose}): {len(row.ids)} tokens, option {row.option_len}{off}")
        lines.append(f"    {prompt}" + (f" [{option}]" if option else ""))
    return lines


def _ids(ids: Sequence[int], most: int = 64) -> str:
    """The ids, the middle of many left out."""
    if len(ids) <= most:
        return " ".join(map(str, ids))
    half = most // 2
    return f"{_ids(ids[:half])} ({len(ids) - 2 * half} more) {_ids(ids[-half:])}"
