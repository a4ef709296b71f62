"""Records as JSON: the one layout in which they are written and sealed. Light."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

_PLAIN = json.JSONEncoder(sort_keys=True, allow_nan=False, ensure_ascii=False)


def dumps(value: Any) -> str:
    """JSON with sorted keys, one key a line, and lists of plain values on one line; ends in a newline.

    The shortest text that reads back as the same number is written, so equal records are equal files.
    Raises ValueError for numbers that are not finite.
    """
    return _dump(value, 0) + "\n"


def canonical(value: Any) -> str:
    """One text for equal JSON values."""
    return json.dumps(value, sort_keys=True)


def finite(value: Any) -> Any:
    """A copy, as JSON in UTF-8 has it: tuples are lists, numbers that are not finite None, half letters written out."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {finite(str(k)): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _dump(value: Any, depth: int) -> str:
    pad = " " * (depth + 1)
    if isinstance(value, Mapping) and value:
        inner = (f"{pad}{json.dumps(key)}: {_dump(value[key], depth + 1)}" for key in sorted(value))
        return "{\n" + ",\n".join(inner) + "\n" + " " * depth + "}"
    if isinstance(value, list | tuple) and any(isinstance(v, Mapping) for v in value):
        return "[\n" + ",\n".join(pad + _dump(v, depth + 1) for v in value) + "\n" + " " * depth + "]"
    return _PLAIN.encode(value)
