"""Examples of a task as a reader wants to see them: the text, what is scored, and the token ids. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .encode import Encoded, Encoder
from .example import Example
from .kinds import KINDS, TaskKind
from .task import Task


def render_task(task: Task, items: Sequence[Mapping[str, Any]], encoder: Encoder | None = None) -> str:
    """The items as prompt and answers, quoted where blanks matter; with an `encoder` also as ids, options apart.

    Raises ZobenchError for an item that cannot be rendered or encoded.
    """
    kind = KINDS[task.kind]
    return "\n".join(_one(kind, task.render(item, index), index, encoder) for index, item in enumerate(items))


def _one(kind: TaskKind, example: Example, index: int, encoder: Encoder | None) -> str:
    lines = [f"example {index}", "  prompt:", *(f"    | {line}" for line in example.prompt.split("\n"))]
    lines += kind.lines(example)
    if encoder is not None:
        for purpose, encoded in kind.shown_rows(encoder, example):
            lines += _rows(purpose, encoded)
    return "\n".join(lines) + "\n"


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
