"""The record: what a finished cell leaves behind, as JSON. Every board is a function of records alone.

Keys are documented where they are declared. `schema` changes when a key changes its meaning; readers accept
all earlier schemas (1: without `files` and `sha256`). Times are seconds, memory is bytes, accuracies and F1 are
fractions in [0, 1].
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

SCHEMA = 2

SEALED = 2
"""The first schema whose records carry checksums."""

Status = Literal["ok", "diverged", "oom", "error", "interrupted", "timeout"]

NO_SELECTOR = "-"
"""The selector of an estimator that trains nothing."""


UNTOUCHED = "zero_shot"
"""The key of the untouched model's score in `metrics` of every record, and what a comparison calls that model."""

Stands = Literal["untouched", "reference", "control"]
"""The part of a cell on a board: the untouched model, scored by the protocol alone, and others for orientation are no
rivals; the control is what rivals are held against, the baseline of all weights.
"""

OF_A_BACKWARD = 2
"""Number of forward passes that a backward pass counts as, as it takes about twice the products."""


class CellKey(TypedDict):
    """What was run: the id of a record is a hash of this together with the protocol."""

    model: str  # as the user named it, for a path the folder's name
    model_revision: str | None  # commit of the hub, or a hash of the weights' files
    task: str
    task_version: int
    data: str  # hub | folder | the name of a plugin's data source
    data_revision: str | None  # commit of the hub, or a hash of the folder's files
    estimator: str
    selector: str  # NO_SELECTOR for an estimator that trains nothing
    estimator_settings: dict[str, Any]
    selector_settings: dict[str, Any]
    run_settings: dict[str, Any]  # dtype, engine, noise, restore, precision, parameterisation, loss_dtype, ...
    lrs: list[float]
    seed: int
    code: NotRequired[dict[str, str]]  # plugin -> digest of its code: of third parties, where the cell used one
    numerics: NotRequired[int]  # zobench.protocol.cell.NUMERICS with what its methods raised, where above 1


class ScopeInfo(TypedDict):
    """What could move."""

    parameters: int
    fraction: float  # of the model's parameters
    layers: list[int]  # decoder blocks touched, 0-based
    tensors: int
    names: list[str]  # of the tensors that were selected, before a parameterisation stands for some of them


class ScoreInfo(TypedDict):
    """One evaluation of a split."""

    metric: str  # accuracy | f1 | ...
    value: float
    n: int
    stderr: float  # binomial for accuracy, of the mean otherwise
    items: NotRequired[list[float]]  # one value an item, in the split's order: for paired comparisons
    predicted: NotRequired[list[int]]  # of test, of tasks with candidates: the one chosen of each item; -1: none
    clusters: NotRequired[list[int]]  # of test, where a task declares one: the cluster (a passage) of each item
    loss: NotRequired[float]  # dev only: the training loss on dev, which selects


class Metrics(TypedDict):
    """Scores of the tuned model and of the untouched one."""

    zero_shot: NotRequired[ScoreInfo]  # the untouched model, on test
    dev: NotRequired[ScoreInfo]  # the chosen checkpoint
    test: NotRequired[ScoreInfo]  # the chosen checkpoint, read once at the end


class Trial(TypedDict):
    """One learning rate of the grid, judged on dev."""

    lr: float
    status: Status
    best_step: int
    dev_loss: float | None
    steps: int
    curve: list[tuple[int, float]]  # (step, dev loss)
    message: NotRequired[str]


class Chosen(TypedDict):
    """The checkpoint that test was read at."""

    lr: float
    step: int


class PhaseTimes(TypedDict):
    """Medians over steps."""

    forward_s: float
    perturb_s: float
    update_s: float
    step_s: float


class SpeedInfo(TypedDict):
    """The cell's own method against full-scope MeZO in the official order, interleaved on the same batches."""

    steps: int  # counted ones of each side: `speed_steps`, or fewer that were enough
    warmup: int
    clock: str  # of step_s: process | wall
    baseline: PhaseTimes
    own: PhaseTimes
    ratio: float  # baseline step_s / own step_s
    interval: NotRequired[list[float]]  # of the ratio, 95 %: of the steps of this cell
    baseline_of: NotRequired[str]  # the cell of the task that measured the baseline; this one checked it by a turn


class EngineSettings(TypedDict):
    """How losses were to be computed, with what `auto` became: settings, from which a replay is made."""

    engine: str
    restore: str
    precision: str
    noise: str
    parameterisation: str
    tensor_order: str


class Observed(TypedDict):
    """What was seen of it while the cell ran: no settings."""

    kernels: NotRequired[str]  # what draws philox noise: triton, where it is added, or torch
    compiled: NotRequired[int]  # decoder blocks that were given to torch.compile
    graphs: NotRequired[int]  # shapes of batches whose training losses were replayed as CUDA graphs
    rows: NotRequired[str]  # what forwards of training and dev losses passed over
    prefix: NotRequired[int | None]  # the block at which they began, by cached hidden states; None: no cache
    last_block: NotRequired[str]  # answers: it passed over the places that answers are predicted from alone
    scored_in: NotRequired[str]  # tokens: a forward scored short items by tokens; not there: by rows
    points: NotRequired[str]  # together: those of a call were looked at in one forward


class EngineInfo(EngineSettings, Observed):
    """How the losses were really computed: zobench.run.computed puts it together."""


class FileInfo(TypedDict):
    """A file beside a record, as it was when the record was written."""

    name: str  # in the record's folder
    bytes: int
    sha256: str


class RoleInfo(TypedDict):
    """What the cell's seed was for, if that was said. The seed of a record without it is reported."""

    seed: Literal["tune", "report"]  # it chose learning rates and is not reported; or it is
    tuned_on: NotRequired[list[int]]  # of a reported one: the seeds that chose its learning rate
    rate_from: NotRequired[list[str]]  # the ids of their records
    splits: NotRequired[list[int]]  # the data splits (data_seed) of the run, where several share a table


class ResumedInfo(TypedDict):
    """Present if the cell was not run in one go."""

    times: int  # processes that went on with it
    replayed: int  # steps that they ran again from what those had seen, without a forward pass


class RanksInfo(TypedDict):
    """That the cell was computed by several processes, each with a part of every batch (zobench.run.ranks)."""

    size: int
    bytes_a_step: float  # of losses, that each gave in a training step of this process


class ModelCapabilities(TypedDict):
    """What the model can do, measured when it was loaded (zobench.models.capabilities)."""

    causal: bool
    padding: str  # what it does to a row: masked (nothing) | positions (nothing, if places are told) | seen
    window: int | None  # tokens that attention looks back at, where they are fewest
    packs: bool  # whether rows may stand side by side in one
    last_block: bool  # whether the last block may pass over answers alone
    cuts: bool  # whether a forward may begin at a decoder block
    points: bool  # whether a forward may look at several points
    cache: str | None  # the name of the keys and values that generation goes on from
    ends: list[int]  # ids that the tokenizer appends to every text; rows are without them
    beyond: int  # ids of special tokens that the embedding has no row for
    newline: bool  # whether the tokenizer can say a line break
    unreached: list[str]  # modules and parameters that a forward over text does not reach
    noise: float  # how far its logits are apart when they are rounded otherwise, relative to their size


class DataInfo(TypedDict):
    """Where the items are from, and what a reader must know of them."""

    provenance: NotRequired[dict[str, Any]]
    sizes: NotRequired[dict[str, int]]  # train | dev | test
    notes: NotRequired[dict[str, Any]]  # what departs from the protocol
    answers: NotRequired[list[str]]  # the candidates, where all test items have the same
    source: NotRequired[dict[str, str]]  # of a plugin's: its nature, and what else a board must say of it


class Record(TypedDict):
    """One cell, finished or failed. In its file stands `sha256` too, of all the rest (zobench.report.seal)."""

    schema: int
    id: str
    status: Status
    protocol: dict[str, Any]  # all that must be equal for two records to stand in one table; has "version"
    cell: CellKey
    scope: ScopeInfo | None
    selection: dict[str, Any]  # what the selector noted
    engine: NotRequired[EngineInfo]
    capabilities: NotRequired[ModelCapabilities]
    weights: NotRequired[dict[str, Any]]  # file, format, sha256 and types of tensors, where they are no safetensors
    data: NotRequired[DataInfo]
    transform: NotRequired[str]  # what stood for the automatic terms of the protocol's transform
    metrics: Metrics
    role: NotRequired[RoleInfo]
    stands: NotRequired[Stands]  # the part that it plays on a board; of early records the plugins say it by name
    unverified: NotRequired[list[str]]  # the estimator or selector, where its card says that a detail is a guess
    chosen: NotRequired[Chosen]
    kept: NotRequired[str]  # what rebuilds the chosen weights: replay log | weights | nothing: why
    trials: list[Trial]
    forwards: dict[
        str, int
    ]  # train | extra | backward | eval | calibration | probe | transform | speed, as of the cell alone: eval
    # has those of the untouched model's score, also where an earlier cell took it (early records: where it did not);
    # but speed those that this cell made (early records: those of both sides in any case)
    time: dict[str, float]  # forward_s, perturb_s, update_s, step_s (medians); select_s, train_s, eval_s, total_s
    speed: NotRequired[SpeedInfo]
    memory: dict[str, int]  # peak_bytes (without the speed-up's baseline), speed_peak_bytes (with it), weights_bytes,
    # state_bytes; planned_bytes and planned_host_bytes: what zobench.run.memory_account said before it began
    environment: dict[str, Any]  # versions, platform, device, git commit, command, start, what `memory` measured
    files: NotRequired[dict[str, FileInfo]]  # steps | replay | weights | error: what lies beside; from schema 2 on
    resumed: NotRequired[ResumedInfo]  # where the cell went on in another process; its times are then those of all
    ranks: NotRequired[RanksInfo]
    elsewhere: NotRequired[str]  # in no folder: stands for the record of a cell that another process runs
    error: str | None  # one line; the traceback lies beside the record
    retry: NotRequired[str]  # what of the machine failed the cell: the same command runs it again
