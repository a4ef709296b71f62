"""Libraries that come with an extra of zobench."""

from __future__ import annotations

import importlib
from typing import Any

from zobench import ZobenchError


def library(name: str, executor: str, extra: str) -> Any:
    """The module of that name, imported now. ZobenchError, with the command that mends it, where it is not there."""
    try:
        return importlib.import_module(name)
    except ImportError as e:
        raise ZobenchError(f"--executor {executor} needs the package {name}: pip install 'zobench[{extra}]'") from e
