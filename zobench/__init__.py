"""zobench: benchmarking zeroth-order (forward-only) fine-tuning of language models.

The public interface, for plugins and for use as a library, is the names of `__init__.pyi`, the one list of them;
docs/library.md says what each is for. Importing this package imports nothing heavy.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from typing import Any

__version__ = "0.1.0"
"""The version: the one place where it stands."""


def _public_names() -> dict[str, str]:
    """Public name -> the module it is imported from, as `__init__.pyi` declares them."""
    declared = ast.parse(pkgutil.get_data(__name__, "__init__.pyi") or b"").body
    return {name.name: f".{one.module}" for one in declared if isinstance(one, ast.ImportFrom) for name in one.names}


_HOMES = _public_names()
__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    """Public names are imported on first use, so that `import zobench` costs no torch import."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module 'zobench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
