"""References that learn: what they may look at, and how their answers are scored. Test comes in after all is chosen."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch

from ..errors import ZobenchError
from ..estimator.estimator import Estimator
from ..tasks.metrics import accuracy, mean, standard_error
from ..tasks.padding import padded
from ..tasks.questions import FitContext, Question
from ..tasks.score import Score
from .selection import checked_facts, everything

if TYPE_CHECKING:
    from ..models.load import LoadedModel
    from ..protocol.cell import Cell
    from ..tasks.prepared import PreparedTask
    from ..tasks.questions import Answers
    from ..tasks.score import Progress


class RunFitContext(FitContext):
    """The run's implementation of zobench.tasks.questions.FitContext, which is all that a reference may use of it.

    Attributes: forwards by purpose: calibration, and after `fit` eval. seconds: train_s, eval_s. facts: what was noted.
    """

    def __init__(self, loaded: LoadedModel, prepared: PreparedTask) -> None:
        self.task, self.kind = prepared.task.name, prepared.task.kind
        self.batch_size = prepared.rules.eval_batch_size
        self.forwards: Counter[str] = Counter()
        self.facts: dict[str, Any] = {}
        self.purpose = "calibration"
        self.seconds: dict[str, float] = {}
        self._loaded, self._prepared = loaded, prepared

    @property
    def train(self) -> list[tuple[Question, int]]:
        return self._examples("train")

    @property
    def dev(self) -> list[tuple[Question, int]]:
        return self._examples("dev")

    def _examples(self, name: Literal["train", "dev"]) -> list[tuple[Question, int]]:
        return [(Question.of(e), e.gold or 0) for e in self._prepared.examples(name)]

    @torch.no_grad()
    def forward(self, rows: Sequence[tuple[int, ...]], **options: Any) -> Any:
        prepared = self._prepared
        ids, mask = padded(rows, prepared.pad_id, prepared.rules.pad_to_multiple_of, self._loaded.context_length)
        ids, mask = ids.to(self._loaded.device), mask.to(self._loaded.device)
        self.forwards[self.purpose] += prepared.forward.calls(mask)
        return prepared.forward.output(ids, mask, **options)

    def note(self, **facts: Any) -> None:
        self.facts.update(checked_facts(facts))


def learns(cls: type[Estimator]) -> bool:
    """Whether an estimator that does not train has a `fit` of its own."""
    return not cls.trains and cls.fit is not Estimator.fit


def scores(cls: type[Estimator], cell: Cell, context: RunFitContext, progress: Progress) -> tuple[Score, Score]:
    """Fit the reference, then let it answer dev and test. Its scope is the whole model, of which it moves nothing.

    Raises ZobenchError where it refuses the task.
    """
    if not context._prepared.kind.chooses:
        raise ZobenchError(f"{cell.estimator} answers with candidates, and a {context.kind} task has none")
    start = time.perf_counter()
    reference = cls(
        everything(context._loaded), lr=0.0, restore="arithmetic", seed=cell.seed, **cell.estimator_settings
    )
    answers = reference.fit(context)
    if answers is None:
        raise TypeError(f"{cls.__name__}.fit returned no function that answers questions")
    context.seconds["train_s"], start = time.perf_counter() - start, time.perf_counter()
    dev, test = score(context, "dev", answers, progress), score(context, "test", answers, progress)
    context.seconds["eval_s"] = time.perf_counter() - start
    return dev, test


def expected_forwards(prepared: PreparedTask) -> tuple[int, int]:
    """The calls of the model that fitting takes, and those of answering dev and test, of a reference that reads every
    row once, of a prompt or, where candidates differ, of each: about, as rows are counted on test.
    """
    test, size = prepared.examples("test"), prepared.rules.eval_batch_size
    rows = 1 if prepared.kind.same_candidates else sum(len(e.rows) for e in test) / len(test)
    train, dev, asked = (math.ceil(n * rows / size) for n in (prepared.train_size, prepared.dev_size, len(test)))
    return train + dev, dev + asked


def score(context: RunFitContext, name: Literal["dev", "test"], answers: Answers, progress: Progress) -> Score:
    """A split, answered `batch_size` questions at a time; the right answers stay here.

    Raises TypeError for answers that are not one candidate's index a question.
    """
    context.purpose, before = "eval", context.forwards["eval"]
    prepared = context._prepared
    encoded, chosen = prepared.examples(name), list[int]()
    for start in range(0, len(encoded), context.batch_size):
        questions = [Question.of(e) for e in encoded[start : start + context.batch_size]]
        given = [int(i) for i in answers(questions)]
        if len(given) != len(questions) or not all(
            0 <= i < len(q.candidates) for i, q in zip(given, questions, strict=True)
        ):
            raise TypeError(f"{len(questions)} questions of {prepared.task.name} were answered by {given}")
        chosen += given
        progress(len(chosen), len(encoded))
    items = [accuracy(i, e.correct) for i, e in zip(chosen, encoded, strict=True)]
    metric, forwards = prepared.task.metric, context.forwards["eval"] - before
    return Score(metric, mean(items), len(items), standard_error(metric, items), items, forwards, [*chosen])
