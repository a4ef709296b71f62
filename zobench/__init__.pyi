"""The public names: the one list of them. `zobench/__init__.py` reads it as it is imported, and so do type checkers.

A line `from .home import Name as Name` makes `zobench.Name`. docs/library.md says what each is for.
"""

from .contracts.executor import (
    Executor as Executor,
)
from .contracts.executor import (
    RunCell as RunCell,
)
from .contracts.planned import Planned as Planned
from .contracts.selector import (
    ProbeResult as ProbeResult,
)
from .contracts.selector import (
    SelectionContext as SelectionContext,
)
from .contracts.selector import (
    Selector as Selector,
)
from .contracts.transform import Transform as Transform
from .devices import wide as wide
from .directions.algebra import (
    Algebra as Algebra,
)
from .directions.algebra import (
    Direction as Direction,
)
from .directions.buffer import Buffer as Buffer
from .directions.handle import (
    Handle as Handle,
)
from .directions.handle import (
    matrices as matrices,
)
from .directions.handle import (
    vectors as vectors,
)
from .engine.objective import Objective as Objective
from .errors import (
    ZobenchError as ZobenchError,
)
from .errors import (
    unknown as unknown,
)
from .estimator.estimator import Estimator as Estimator
from .estimator.families import (
    Directions as Directions,
)
from .estimator.families import (
    Draws as Draws,
)
from .estimator.log import (
    LogWriter as LogWriter,
)
from .estimator.log import (
    StepLog as StepLog,
)
from .estimator.log import (
    read_log as read_log,
)
from .estimator.losses import Losses as Losses
from .estimator.vocabulary import Diverged as Diverged
from .models.activations import (
    BlockActivation as BlockActivation,
)
from .models.activations import (
    block_activations as block_activations,
)
from .models.activations import (
    body_forward as body_forward,
)
from .models.blocks import Block as Block
from .models.load import LoadedModel as LoadedModel
from .models.massive import MassiveActivation as MassiveActivation
from .models.outliers import choose_block as choose_block
from .plugins.expressions import Composite as Composite
from .plugins.hookspecs import hookimpl as hookimpl
from .plugins.presets import Preset as Preset
from .protocol.cell import Cell as Cell
from .report.record import Record as Record
from .run.named_model import load_model as load_model
from .run.progress import progress_bars as progress_bars
from .scopes.combine import (
    complement as complement,
)
from .scopes.combine import (
    is_static as is_static,
)
from .scopes.combine import (
    union as union,
)
from .scopes.schedule import Schedule as Schedule
from .scopes.scope import Scope as Scope
from .settings import (
    Count as Count,
)
from .settings import (
    Fraction as Fraction,
)
from .settings import (
    Natural as Natural,
)
from .settings import (
    NonNegative as NonNegative,
)
from .settings import (
    Positive as Positive,
)
from .settings import (
    Range as Range,
)
from .tasks.batch import Batch as Batch
from .tasks.questions import (
    Answers as Answers,
)
from .tasks.questions import (
    FitContext as FitContext,
)
from .tasks.questions import (
    Question as Question,
)
from .tasks.source import DataSource as DataSource
from .tasks.task import (
    Task as Task,
)
from .tasks.task import (
    task_files as task_files,
)

__version__: str
__all__: list[str]
