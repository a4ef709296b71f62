"""check_estimator: the battery, every engine, one report."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from ..engine import ENGINES
from ..estimator.estimator import Estimator
from .attempt import SCOPES, Case, distance
from .checks import CHECKS
from .expect import Failed, NotApplicable, expect
from .memory import check_memory
from .moments import Expect, check_moments
from .report import Finding, Report

TOLERANCE = 1e-8
"""Largest difference of a float64 weight between two engines after a run."""

DIFFERENTIAL_SCOPES = {"mlp": tuple(SCOPES), "llama": ("full", "rotating")}


def check_estimator(
    cls: type[Estimator],
    *,
    engines: Sequence[str] | None = None,
    problems: Sequence[str] = ("mlp", "llama"),
    moments: Expect | None = None,
    **settings: Any,
) -> Report:
    """Check that an estimator does what it says, on every engine, in float64.

        def test_my_zo():
            check_estimator(MyZO)

    The checks:

    - V1 moves are along the directions of the looks, bit for bit; V2 looks leave no trace in the weights;
    - V3 nothing outside the scope or its mask moves, something inside does;
    - V4 mean and mean square of the step on a quadratic, against closed forms where there are any;
    - V5 forwards are as declared, and all of them counted;
    - V6 state is as declared and does not grow, and a step holds no further copy of the scope;
    - V7 the same seed, an interruption between two refreshes, other random streams, a replay of the log: same bits;
    - V8 at neutral settings it is MeZO;
    - V9 one call of `step` is one step: of its number and seed, on the tensors that the scope lets move in it, and what
      the core keeps on an estimator is left to the core;
    - all engines give the same weights, on an MLP and a two-block LLaMA, with the whole model, one block, masks, and
      a scope that rotates over the steps.

    What a class may declare (ClassVars of Estimator): `forwards_per_step`, `state_per_parameter` (or `state_of`, a
    method), `neutral` (settings at which it is MeZO), `needs` (settings without which it cannot stand), `exercise`
    (settings that bring its rare events, such as refreshes, into eight steps) and `moves_along_looks = False` (moves
    through state or signs, so that V1 has nothing to compare).

    Args:
        cls: the estimator class.
        engines: names from zobench.engine.ENGINES; all of them by default.
        problems: "mlp" and "llama" by default; without "llama" transformers is not imported.
        moments: closed forms of the step's moments for V4 (see zobench.testing.Moments); without them V4 uses
            `neutral`, or checks only that the mean step goes downhill.
        settings: settings of the estimator for all checks; they take precedence over `needs` and `exercise`.

    Returns the report. Raises AssertionError with the report's failures as its message.
    """
    given = {**cls.needs, **cls.exercise, **settings}
    report = Report(cls.__name__, given)
    names = list(engines or ENGINES)
    if not cls.trains:
        note(report, "no training", "-", "mlp", lambda: _untrained(Case(cls, given, names[0], "mlp")))
    else:
        _battery(report, cls, given, names, problems, moments)
    if not report.passed:
        raise AssertionError(report.summary())
    return report


def _battery(
    report: Report,
    cls: type[Estimator],
    settings: Mapping[str, Any],
    engines: Sequence[str],
    problems: Sequence[str],
    moments: Expect | None,
) -> None:
    cases = {(e, p): Case(cls, settings, e, p) for e in engines for p in problems}
    for engine in engines:
        case = cases.get((engine, "mlp")) or Case(cls, settings, engine, "mlp")
        for name, check in CHECKS.items():
            note(report, name, engine, "mlp", partial(check, case))
    note(report, "V4 moments", "pair", "quadratic", lambda: check_moments(cls, settings, moments))
    note(report, "V6 memory", "flat", "40 tensors", lambda: check_memory(cls, settings))
    for problem in problems:
        for scope in DIFFERENTIAL_SCOPES[problem]:
            _agree(report, [cases[e, problem] for e in engines], scope)


def _agree(report: Report, cases: Sequence[Case], scope: str) -> None:
    """Every engine against the first that runs: the same weights after a few steps."""
    first: tuple[str, dict[str, Tensor]] | None = None

    def one(case: Case) -> str:
        nonlocal first
        weights = case.run(scope).weights()
        if first is None:
            first = case.engine, weights
            return "the reference"
        off = distance(weights, first[1])
        expect(off < TOLERANCE, f"weights differ from those of {first[0]} by {off:.1e}")
        return f"{off:.0e} from {first[0]}"

    for case in sorted(cases, key=lambda c: c.engine != "pair"):  # pair never touches theta: it is the reference
        note(report, f"engines agree: {scope}", case.engine, case.problem, partial(one, case))


def _untrained(case: Case) -> str:
    attempt = case.attempt()
    try:
        attempt.go(1)
    except TypeError:
        expect(distance(attempt.weights(), attempt.start) == 0, "the weights moved")
        return "refuses to step"
    raise Failed("trains is False, but a step was made")


def note(report: Report, check: str, engine: str, problem: str, run: Callable[[], str]) -> None:
    """Run one check and put what it found into the report; what it raises is a failure with its place."""
    passed: bool | None = True
    try:
        detail = run()
    except NotApplicable as e:
        passed, detail = None, str(e)
    except Failed as e:
        passed, detail = False, str(e)
    except Exception as e:
        passed, detail = False, f"{type(e).__name__}: {e} ({_place(e)})"
    report.findings.append(Finding(check, engine, problem, passed, detail))


def _place(e: BaseException) -> str:
    """The file and line that raised, as the author needs it."""
    frames = traceback.extract_tb(e.__traceback__)
    own = [f for f in frames if f.name in ("iterate", "setup", "select")] or frames
    return f"{own[-1].filename}:{own[-1].lineno}, in {own[-1].name}"
