"""The public names: the one list of them. `zobench/__init__.py` reads it as it is imported, and so do type checkers.

A line `from .home import Name as Name` makes `zobench.Name`. docs/library.md says what each is for.
"""

from .compose import Composite as Composite
from .engine.objective import Objective as Objective
from .errors import (
    ZobenchError as ZobenchError,
)
from .errors import (
    unknown as unknown,
)
from .executor import Executor as Executor
from .hookspecs import hookimpl as hookimpl
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
from .models.load import (
    LoadedModel as LoadedModel,
)
from .models.load import (
    load_model as load_model,
)
from .models.outliers import choose_block as choose_block
from .planned import Planned as Planned
from .report.record import Record as Record
from .run.cell import Cell as Cell
from .selector import (
    ProbeResult as ProbeResult,
)
from .selector import (
    SelectionContext as SelectionContext,
)
from .selector import (
    Selector as Selector,
)
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
from .tasks.task import (
    Task as Task,
)
from .tasks.task import (
    task_files as task_files,
)
from .zo.algebra import (
    Algebra as Algebra,
)
from .zo.algebra import (
    Direction as Direction,
)
from .zo.buffer import Buffer as Buffer
from .zo.combine import (
    complement as complement,
)
from .zo.combine import (
    is_static as is_static,
)
from .zo.combine import (
    union as union,
)
from .zo.estimator import Estimator as Estimator
from .zo.handle import (
    Handle as Handle,
)
from .zo.handle import (
    matrices as matrices,
)
from .zo.handle import (
    vectors as vectors,
)
from .zo.log import (
    LogWriter as LogWriter,
)
from .zo.log import (
    StepLog as StepLog,
)
from .zo.log import (
    read_log as read_log,
)
from .zo.losses import Losses as Losses
from .zo.schedule import Schedule as Schedule
from .zo.scope import Scope as Scope
from .zo.vocabulary import Diverged as Diverged

__version__: str
__all__: list[str]
