"""zobench: benchmarking zeroth-order (forward-only) fine-tuning of language models.

The names below are the public interface for plugins; importing this package imports nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .engine.objective import Objective
    from .errors import ZobenchError
    from .hookspecs import hookimpl
    from .models.activations import BlockActivation, block_activations
    from .models.outliers import choose_block
    from .selector import ProbeResult, SelectionContext, Selector
    from .settings import Count, Fraction, Natural, NonNegative, Positive, Range
    from .tasks.task import Task
    from .zo.algebra import Algebra, Direction
    from .zo.buffer import Buffer
    from .zo.estimator import Estimator
    from .zo.handle import Handle, matrices, vectors
    from .zo.losses import Losses
    from .zo.scope import Scope

_HOMES = {
    "Algebra": "zo.algebra",
    "BlockActivation": "models.activations",
    "Buffer": "zo.buffer",
    "Count": "settings",
    "Direction": "zo.algebra",
    "Estimator": "zo.estimator",
    "Fraction": "settings",
    "Handle": "zo.handle",
    "Losses": "zo.losses",
    "Natural": "settings",
    "NonNegative": "settings",
    "Objective": "engine.objective",
    "Positive": "settings",
    "ProbeResult": "selector",
    "Range": "settings",
    "Scope": "zo.scope",
    "SelectionContext": "selector",
    "Selector": "selector",
    "Task": "tasks.task",
    "ZobenchError": "errors",
    "block_activations": "models.activations",
    "choose_block": "models.outliers",
    "hookimpl": "hookspecs",
    "matrices": "zo.handle",
    "vectors": "zo.handle",
}
__all__ = [
    "Algebra",
    "BlockActivation",
    "Buffer",
    "Count",
    "Direction",
    "Estimator",
    "Fraction",
    "Handle",
    "Losses",
    "Natural",
    "NonNegative",
    "Objective",
    "Positive",
    "ProbeResult",
    "Range",
    "Scope",
    "SelectionContext",
    "Selector",
    "Task",
    "ZobenchError",
    "__version__",
    "block_activations",
    "choose_block",
    "hookimpl",
    "matrices",
    "vectors",
]


def __getattr__(name: str) -> Any:
    """Public names are imported on first use, so that `import zobench` costs no torch import."""
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module 'zobench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
