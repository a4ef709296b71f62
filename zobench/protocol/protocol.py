"""The protocol: all that must be equal for two records to stand in one table. Its numbers are MeZO's.

Two groups of settings, both reached by `--set name=value`: `Protocol`, which a board refuses to mix, and
`Computation`, how the numbers were computed, which every record carries and every board shows.
Source of the defaults: princeton-nlp/MeZO, large_models (mezo.sh, run.py); the paper for steps and dev sizes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from ..engine import AUTO, ENGINES, engine_class
from ..errors import ZobenchError, unknown
from ..parameterisations import OF_THE_ESTIMATOR, PARAMETERISATIONS
from ..settings import Count, Natural, NonNegative, resolve
from ..tasks.rules import BatchRule, RowsRule, Rules

VERSION = "mezo-1"
YOUNGER = frozenset({"pad_targets", "train_forwards", "train_seconds", "further_lrs", "transform"})
"""Settings that came after VERSION. Their default is what was done before them, and at it they stay out of records, so
that records from before and after them compare and have the same identity.
"""


@dataclass(frozen=True)
class Protocol(Rules):
    """What is held equal: the rules of encoding, losses and scoring, and those of data and training below."""

    num_train: Count = 1000
    num_dev: Count | None = None  # none: the task's own (500; 100 for CB, COPA and, as in the paper, WSC)
    num_test: Count = 1000
    data_seed: Natural = 0  # which examples are sampled; the seeds of the cells do not change it
    batch_size: Count = 16
    steps: Count = 10_000
    eval_every: Count = 2_000  # the best checkpoint is the first of the lowest dev losses seen at these steps
    train_forwards: Natural = 0  # train for this many forwards instead of `steps` steps (0: steps); a backward is two
    train_seconds: NonNegative = 0.0  # or for this many seconds of steps: on a CPU the process's own
    further_lrs: Natural = 0  # rates tried beyond a grid of several, at most, while the best on dev is an end of it
    lr_schedule: Literal["constant", "linear"] = "constant"
    weight_decay: NonNegative = 0.0
    transform: str = ""  # what is changed of what blocks put out, in training and scoring alike (plugins/transforms.py)

    def record(self) -> dict[str, Any]:
        """As it stands in a record, under `protocol`."""
        usual = {field.name: field.default for field in fields(self)}
        said = {name: value for name, value in vars(self).items() if name not in YOUNGER or value != usual[name]}
        return {"version": VERSION, **said}


@dataclass(frozen=True)
class Computation:
    """How a cell is computed. None of it changes what is estimated, all of it stands in the record."""

    dtype: Literal["float16", "bfloat16", "float32"] = "float32"
    engine: str = "auto"
    noise: Literal["per_tensor", "official", "philox"] = "per_tensor"
    restore: Literal["auto", "exact", "arithmetic"] = "auto"
    precision: Literal["native", "float32"] = "native"
    tensor_order: Literal["model", "transformers-4"] = "model"  # of the tensors in an official noise stream
    parameterisation: str = OF_THE_ESTIMATOR  # else one of zobench.parameterisations
    rows: RowsRule = "auto"  # what candidates have in common once in a forward, or MeZO's rows; official: replicated
    prefix_cache: Literal["auto", "off"] = (
        "auto"  # what enters the lowest block that moves once an example; official: off
    )
    scored_in: BatchRule = "auto"  # what a forward scores: eval_batch_size rows, or as many more as have 512 tokens
    compile: Literal["off", "blocks"] = "off"  # decoder blocks by torch.compile; official engines: off
    cuda_graphs: Literal["off", "on"] = "off"  # training losses of packed rows, padded to few shapes, by CUDA graphs
    speed_steps: Natural = 30  # at most, of each side of the cell's speed measurement; 0 leaves it out
    speed_warmup: Natural = 10
    snapshot_limit: Natural = 1_000_000_000  # bytes; larger scopes keep no weights beside the record

    def record(self) -> dict[str, Any]:
        """As it stands in a record, under `cell.run_settings`: settings that are younger than some records are left
        out at the value of what was done before them. What is chosen where `scored_in` is auto has the same scores: it
        stands beside what else was observed (`engine`).
        """
        before = {"rows": "replicated", "prefix_cache": "off", "compile": "off", "cuda_graphs": "off"}
        before["scored_in"] = "rows"
        said = vars(self) | ({"scored_in": "rows"} if self.scored_in == "auto" else {})
        return {name: value for name, value in said.items() if before.get(name) != value}


OF_SCORING = frozenset({"demonstrations", "demonstration_sets", "scoring"})
"""Rules that an estimator may set for itself, in the open: as settings of its own, which its records carry."""


def asked(protocol: Protocol, scored_by: Sequence[str], settings: Mapping[str, Any]) -> Protocol:
    """The rules that an estimator is scored by: the protocol's, but for those that it has settings of its own for.

    TypeError for a rule that is not one of scoring: all others are equal for everyone.
    """
    if not OF_SCORING.issuperset(scored_by):
        raise TypeError(f"scored_by={tuple(scored_by)}: an estimator may set only {', '.join(sorted(OF_SCORING))}")
    return replace(protocol, **{name: settings[name] for name in scored_by})


def protocol_from(values: dict[str, object]) -> Protocol:
    """A checked protocol. Raises ZobenchError for unknown names, bad values, and steps that are never evaluated."""
    made = Protocol(**resolve(Protocol, values, owner="protocol"))
    if made.train_forwards and made.train_seconds:
        raise ZobenchError("train_forwards and train_seconds are both set: leave one of them out")
    if made.eval_every > made.steps:
        raise ZobenchError(
            f"eval_every={made.eval_every} is above steps={made.steps}: no checkpoint would ever be evaluated; "
            f"set eval_every to at most {made.steps}"
        )
    return made


def computation_from(values: dict[str, object]) -> Computation:
    """A checked computation. Raises ZobenchError for unknown names, bad values, and what an engine cannot do."""
    made = Computation(**resolve(Computation, values, owner="run"))
    known = (OF_THE_ESTIMATOR, *PARAMETERISATIONS)
    if made.parameterisation not in known:
        raise ZobenchError(unknown("parameterisation", made.parameterisation, known))
    if made.cuda_graphs == "on" and (wrong := _not_captured(made)):
        raise ZobenchError(f"cuda_graphs=on {wrong}")
    if made.engine == AUTO:
        return made
    if made.engine not in ENGINES:
        raise ZobenchError(unknown("engine", made.engine, (AUTO, *ENGINES)))
    if wrong := _refused(made, values):
        raise ZobenchError(f"engine={made.engine} {wrong}")
    return narrowed(made)


def _not_captured(made: Computation) -> str:
    """What it asks for that CUDA graphs cannot be made of, in words; empty if nothing."""
    if made.rows not in ("auto", "packed"):
        return f"is of packed rows; leave rows={made.rows} out"
    return "" if made.compile == "off" else f"is of blocks as they are; leave compile={made.compile} out"


def _refused(made: Computation, said: Collection[str]) -> str:
    """What its engine does not take, in words; empty if nothing. `said`: the settings that were given."""
    from ..directions.noise import NOISES

    engine = engine_class(made.engine)
    for name, value, known in (
        ("restore", made.restore, ("auto", *engine.restores)),
        ("precision", made.precision, engine.precisions),
    ):
        if value not in known:
            return f"knows {name}={' or '.join(k for k in known if k != 'auto')} only; leave {name}={value} out"
    if not engine.compiles and made.compile != "off":
        return f"keeps the model's own arithmetic; leave compile={made.compile} out"
    if made.cuda_graphs != "off" and not engine.captures:
        return f"has weights elsewhere at each look; leave cuda_graphs={made.cuda_graphs} out"
    if made.cuda_graphs != "off" and engine.replicates_rows:
        return f"passes over rows that are not packed; leave cuda_graphs={made.cuda_graphs} out"
    if not engine.one_order and not NOISES[made.noise].apart:
        return f"draws noise as modules run, noise={made.noise} is one stream; use per_tensor"
    if engine.replicates_rows and "rows" in said and made.rows != "replicated":
        return f"knows rows=replicated only; leave rows={made.rows} out"
    if not engine.prefix_cache and "prefix_cache" in said and made.prefix_cache != "off":
        return f"has no prefix cache; leave prefix_cache={made.prefix_cache} out"
    return ""


def narrowed(made: Computation) -> Computation:
    """The same without what its engine does not take: over `replicated` rows, without prefix cache, compiled blocks and
    CUDA graphs.
    """
    engine = engine_class(made.engine)
    return replace(
        made,
        compile=made.compile if engine.compiles else "off",
        cuda_graphs=made.cuda_graphs if engine.captures else "off",
        rows="replicated" if engine.replicates_rows else made.rows,
        prefix_cache=made.prefix_cache if engine.prefix_cache else "off",
    )
