"""zobench: benchmarking zeroth-order (forward-only) fine-tuning of language models.

The names below are the public interface, for plugins and for use as a library; docs/library.md says what each is for.
Importing this package imports nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .compose import Composite
    from .engine.objective import Objective
    from .errors import ZobenchError
    from .hookspecs import hookimpl
    from .models.activations import BlockActivation, block_activations, body_forward
    from .models.blocks import Block
    from .models.load import LoadedModel, load_model
    from .models.outliers import choose_block
    from .planned import Planned
    from .report.record import Record
    from .run.cell import Cell
    from .run.executor import Executor
    from .selector import ProbeResult, SelectionContext, Selector
    from .settings import Count, Fraction, Natural, NonNegative, Positive, Range
    from .tasks.batch import Batch
    from .tasks.questions import Answers, FitContext, Question
    from .tasks.task import Task, task_files
    from .zo.algebra import Algebra, Direction
    from .zo.buffer import Buffer
    from .zo.combine import complement, is_static, union
    from .zo.estimator import Estimator
    from .zo.handle import Handle, matrices, vectors
    from .zo.log import LogWriter, StepLog, read_log
    from .zo.losses import Losses
    from .zo.schedule import Schedule
    from .zo.scope import Scope
    from .zo.vocabulary import Diverged

_HOMES = {
    "Algebra": "zo.algebra",
    "Answers": "tasks.questions",
    "Batch": "tasks.batch",
    "Block": "models.blocks",
    "BlockActivation": "models.activations",
    "Buffer": "zo.buffer",
    "Cell": "run.cell",
    "Composite": "compose",
    "Count": "settings",
    "Direction": "zo.algebra",
    "Diverged": "zo.vocabulary",
    "Estimator": "zo.estimator",
    "Executor": "run.executor",
    "FitContext": "tasks.questions",
    "Fraction": "settings",
    "Handle": "zo.handle",
    "LoadedModel": "models.load",
    "LogWriter": "zo.log",
    "Losses": "zo.losses",
    "Natural": "settings",
    "NonNegative": "settings",
    "Objective": "engine.objective",
    "Planned": "planned",
    "Positive": "settings",
    "ProbeResult": "selector",
    "Question": "tasks.questions",
    "Range": "settings",
    "Record": "report.record",
    "Schedule": "zo.schedule",
    "Scope": "zo.scope",
    "SelectionContext": "selector",
    "Selector": "selector",
    "StepLog": "zo.log",
    "Task": "tasks.task",
    "ZobenchError": "errors",
    "block_activations": "models.activations",
    "body_forward": "models.activations",
    "choose_block": "models.outliers",
    "complement": "zo.combine",
    "hookimpl": "hookspecs",
    "is_static": "zo.combine",
    "load_model": "models.load",
    "matrices": "zo.handle",
    "read_log": "zo.log",
    "task_files": "tasks.task",
    "union": "zo.combine",
    "vectors": "zo.handle",
}
__all__ = [
    "Algebra",
    "Answers",
    "Batch",
    "Block",
    "BlockActivation",
    "Buffer",
    "Cell",
    "Composite",
    "Count",
    "Direction",
    "Diverged",
    "Estimator",
    "Executor",
    "FitContext",
    "Fraction",
    "Handle",
    "LoadedModel",
    "LogWriter",
    "Losses",
    "Natural",
    "NonNegative",
    "Objective",
    "Planned",
    "Positive",
    "ProbeResult",
    "Question",
    "Range",
    "Record",
    "Schedule",
    "Scope",
    "SelectionContext",
    "Selector",
    "StepLog",
    "Task",
    "ZobenchError",
    "__version__",
    "block_activations",
    "body_forward",
    "choose_block",
    "complement",
    "hookimpl",
    "is_static",
    "load_model",
    "matrices",
    "read_log",
    "task_files",
    "union",
    "vectors",
]


def __getattr__(name: str) -> Any:
    """Public names are imported on first use, so that `import zobench` costs no torch import."""
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module 'zobench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
