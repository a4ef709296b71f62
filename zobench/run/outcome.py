"""What is known of a cell so far, and the record that it becomes."""

from __future__ import annotations

import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from .. import redact
from ..engine import AUTO, engine_class
from ..errors import ZobenchError, out_of_memory, said
from ..report.record import SCHEMA, Record, ScopeInfo, ScoreInfo, Status, Trial
from .memory_account import ONE_BLOCK, gib
from .method import kept

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from ..protocol.cell import Cell
    from ..protocol.protocol import Computation
    from ..report.known import KnownNames
    from ..scopes.scope import Scope
    from ..tasks.prepared import PreparedTask
    from ..tasks.sampling import Splits
    from ..tasks.score import Score
    from .memory_account import MemoryAccount
    from .train import Trained


@dataclass
class Outcome:
    """What is known of a cell so far; a failure on the way leaves what was measured before it."""

    status: Status = "ok"
    error: str | None = None
    traceback: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    forwards: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    metrics: dict[str, ScoreInfo] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    account: MemoryAccount | None = None
    """What it was planned to hold."""
    clusters: list[int] | None = None
    """Of each test item, where the task has them."""

    def keep(self) -> Callable[[Tensor], Tensor]:
        """How the cell keeps the scope as it was at first, and the best checkpoint: as was planned."""
        return kept(on_device=self.account is not None and self.account.copies == "device")


def as_record(cell: Cell, out: Outcome, environment: dict[str, Any]) -> Record:
    """The record of a cell as it stands; `environment` holds the machine, the start, and what `memory` measured."""
    times = {k: out.seconds[k] for k in sorted(out.seconds)}
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "id": cell.id,
        "status": out.status,
        "protocol": cell.protocol.record(),
        "cell": cell.key(),
        "scope": None,
        "selection": {},
        "metrics": _clustered(out.metrics, out.clusters),
        "trials": out.trials,
        "forwards": dict(out.forwards),
        "time": times,
        "memory": out.memory,
        "environment": environment,
        "error": out.error,
    }
    if cell.role is not None:
        record["role"] = cell.role
    record.update(out.fields)
    return cast(Record, redact.clean(record))


def _clustered(metrics: dict[str, ScoreInfo], clusters: list[int] | None) -> dict[str, ScoreInfo]:
    if clusters is None:
        return metrics
    return {name: s if name == "dev" else {**s, "clusters": clusters} for name, s in metrics.items()}


def scope_info(own: Scope, selected: Scope, model_parameters: int) -> ScopeInfo:
    """What could move: counted on the parameterisation's own tensors, layers as they were selected."""
    n = own.numel()
    return ScopeInfo(
        parameters=n,
        fraction=n / model_parameters,
        layers=list(selected.layers),
        tensors=len(own.named),
        names=[name for name, _ in selected.named],
    )


def heard(out: Outcome, run: Trained, facts: Mapping[str, Any], *, better: bool) -> None:
    """What one learning rate took and gave, into the record."""
    out.fields["engine"] = facts["engine"]
    out.fields.setdefault("scope", facts["scope"])
    out.memory["state_bytes"] = max(out.memory.get("state_bytes", 0), facts["state_bytes"])
    for purpose, n in facts["forwards"].items():
        out.forwards[purpose] += n
    count(out, run)
    if better:
        out.fields["kept"] = facts["kept"]


def count(out: Outcome, run: Trained) -> None:
    """Add what one run of the loop took, and its trial."""
    out.forwards["eval"] += run.eval_forwards
    out.seconds["train_s"] = out.seconds.get("train_s", 0.0) + run.train_s
    out.seconds["eval_s"] = out.seconds.get("eval_s", 0.0) + run.eval_s
    trial = Trial(
        lr=run.lr,
        status=run.status,
        best_step=run.best_step,
        dev_loss=run.best_loss,
        steps=run.steps,
        curve=run.curve,
    )
    if run.message:
        trial["message"] = run.message
    out.trials.append(trial)


def info(score: Score) -> ScoreInfo:
    """A score as records have it."""
    return ScoreInfo(
        metric=score.metric, value=score.value, n=score.n, stderr=score.stderr, items=[round(x, 6) for x in score.items]
    )


def info_of_test(score: Score) -> ScoreInfo:
    """A score of test, with the candidates chosen: their numbers alone, as answers in words may be the data's."""
    numbers = [one for one in score.predictions if isinstance(one, int)]
    made = info(score)
    return {**made, "predicted": numbers} if len(numbers) == score.n else made


def data_facts(
    provenance: dict[str, Any], splits: Splits, prepared: PreparedTask, model: str | None = None
) -> dict[str, Any]:
    """Where the items are from, how many there are, and what a reader must know of them, and of the model's files."""
    sizes = {"train": len(splits.train), "dev": len(splits.dev), "test": len(splits.test)}
    notes: dict[str, Any] = dict(splits.notes)
    if prepared.unstable_rows:
        notes["unstable_rows"] = f"{prepared.unstable_rows} training rows whose option window is shifted by a token"
    notes |= prepared.kind.notes(prepared)
    if model is not None:
        notes["model"] = model
    answers = {"answers": list(prepared.answers)} if prepared.answers else {}
    return {"provenance": provenance, "sizes": sizes, "notes": notes, **answers}


def failed(out: Outcome, cell: Cell, e: BaseException, known: KnownNames) -> None:
    """Note what went wrong; what was measured before it stays. Out of memory is `oom`, with what takes less, and by how
    much where the cell's memory was planned.
    """
    out.status = "oom" if out_of_memory(e) else "error"
    why = " ".join(str(e).split()) if isinstance(e, ZobenchError) else f"{type(e).__name__}: {said(e, first=True)}"
    changed = getattr(e, "__notes__", ())  # by zobench.run.unchanged: the cause, where there is one
    out.error = "; ".join([*(" ".join(str(line).split()) for line in changed), why])
    if out.status == "oom":
        if out.account is not None:
            out.error += f"; planned were {out.account.said()}"
        out.error += f"; less memory is taken with {less_memory(cell, known, out.account)}"
    out.traceback = traceback.format_exc()


def _arithmetic(computed: Computation) -> bool:
    """Whether weights come back by arithmetic, so that no copy of them is held."""
    restore = computed.restore
    return (restore if computed.engine == AUTO else engine_class(computed.engine).restored(restore)) == "arithmetic"


def less_memory(cell: Cell, known: KnownNames, account: MemoryAccount | None = None) -> str:
    """Settings of a run that take less memory than the cell's: by the account those that take most off first."""
    speed = ["speed_steps=0 (the baseline moves all weights)"] if cell.computation.speed_steps else []
    if account is not None and account.ways:
        most_first = sorted(account.ways.items(), key=lambda item: -item[1])
        named = "".join(f" (-s {name}:0)" for name in known.one_block[:1])
        ways_said = [f"{way}{named if way == ONE_BLOCK else ''} ({gib(size)} less)" for way, size in most_first]
        return ", ".join([*ways_said, *speed])
    computed, rules, ways = cell.computation, cell.protocol, list[str]()
    if rules.batch_size > 1:
        ways.append(f"batch_size={rules.batch_size // 2} (another protocol)")
    if rules.eval_batch_size > 1:
        ways.append(f"eval_batch_size={max(1, rules.eval_batch_size // 4)}")
    if computed.speed_steps:
        ways.append("speed_steps=0 (the baseline moves all weights)")
    if not _arithmetic(computed):
        ways.append("engine=flat with restore=arithmetic (no copy of what moves)")
    if computed.dtype == "float32":
        ways.append("--dtype bfloat16")
    if cell.selector in known.everything:
        ways += [f"a smaller scope (-s {name}:0)" for name in known.one_block[:1]]
    return ", ".join(ways) or "a smaller model, or a larger machine"
