"""The checks of one case. Each returns a detail worth showing, raises Failed, or raises NotApplicable."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..estimator.estimator import Estimator
from ..estimator.losses import Losses
from .attempt import Attempt, Case, distance, same
from .expect import NotApplicable, expect
from .problems import half_masks
from .reference_mezo import ReferenceMeZO, neutral_of
from .watch import Noting, Values, Watch

INTERRUPTED = 4
"""The step after which a run is interrupted: with a refresh every three, between two of them."""


def replay(case: Case) -> str:
    """V1: every term of a move is, bitwise, a term of one of the step's looks, or lies in their span."""
    settings: Mapping[str, Any] = {}
    if not case.cls.moves_along_looks:
        found = neutral_of(case.cls)
        if found is None:
            raise NotApplicable("the class says that its moves are not along its looks")
        settings = found
    attempt = case.attempt(**settings)
    watch, bitwise, looked = Watch(attempt.opt), True, False
    for step in range(case.steps):
        watch.clear()
        attempt.go(1)
        looked = looked or bool(watch.looks)
        for move in watch.moves if watch.looks else []:
            exact = any(same(move, look) for look in watch.looks)
            bitwise = bitwise and exact
            off = 0.0 if exact else _residual(move, watch.looks)
            expect(off < 1e-10, f"step {step} moved along a direction that it did not look along (off by {off:.0%})")
    if not looked:
        raise NotApplicable("no loss was asked for at a displaced point")
    return "bitwise" if bitwise else "in the span of the looks"


def _residual(move: Values, looks: list[Values]) -> float:
    """The largest share of `move`, over tensors, outside the span of the looks."""
    worst = 0.0
    for name, v in move.items():
        columns = [look[name].flatten() for look in looks if name in look and look[name].shape == v.shape]
        size = float(v.norm())
        if size == 0:
            continue
        if not columns:
            return 1.0
        basis = torch.stack(columns, 1)
        best = torch.linalg.lstsq(basis, v.flatten()[:, None], driver="gelsd").solution
        worst = max(worst, float((basis @ best - v.flatten()[:, None]).norm()) / size)
    return worst


def restore(case: Case) -> str:
    """V2: a step that looks but does not move leaves the weights where they were."""
    attempt = case.attempt()
    Watch(attempt.opt, still=True)
    attempt.go(3)
    off = distance(attempt.weights(), attempt.start)
    exact = attempt.opt.engine.restore == "exact"
    expect(off == 0 if exact else off < 1e-12, f"weights were not restored: largest difference {off:.1e}")
    return f"largest difference {off:.0e}"


def frozen(case: Case) -> str:
    """V3: tensors outside the scope stay bit for bit, those inside move."""
    attempt = case.run("layer")
    inside = {n for n, _ in attempt.scope.named}
    now = attempt.weights()
    touched = [n for n in now if n not in inside and not torch.equal(now[n], attempt.start[n])]
    expect(not touched, f"tensors outside the scope changed: {', '.join(touched[:3])}")
    still = [n for n in inside if torch.equal(now[n], attempt.start[n])]
    expect(len(still) < len(inside), "nothing in the scope moved")
    return ""


def masks(case: Case) -> str:
    """Entries outside a static mask stay bit for bit."""
    attempt = case.run("masked")
    now, inside = attempt.weights(), half_masks(attempt.problem.named())
    moved = [n for n, m in inside.items() if not torch.equal(now[n][~m], attempt.start[n][~m])]
    expect(not moved, f"entries outside the mask changed in {', '.join(moved[:3])}")
    expect(not same(now, attempt.start), "nothing inside the mask moved")
    return ""


def forwards(case: Case) -> str:
    """V5: as many forwards as the class declares (at its own default settings), and all of them counted.

    A forward of some examples of a batch is that part of one; one that carries a tangent is two.
    """
    declared = case.cls.forwards_per_step
    given = {k: v for k, v in case.settings.items() if k not in case.cls.exercise}
    attempt = Attempt(case, "full", given)
    problem, calls = attempt.problem, Fraction()

    def counting(forward: Any, batch: Any) -> Tensor:
        nonlocal calls
        calls += Fraction(len(problem.split(batch)), len(problem.split(problem.batch(0))))
        return problem.loss(forward, batch)

    more = (problem.batch(k) for k in itertools.count(10_000))
    for step in range(2):
        batch = problem.batch(step)
        objective = Noting(problem.model, counting, batch, more, batched=False, examples=problem.split)
        attempt.opt.step(objective)
        calls += objective.duals
    counted = {k: v for k, v in attempt.opt.forwards.items() if k != "backward"}
    expect(sum(counted.values()) == calls, f"{calls} forwards were made, {counted} counted")
    train = attempt.opt.forwards.get("train", 0) / 2
    expect(declared is None or train == declared, f"{train:g} forwards a step, forwards_per_step says {declared}")
    return f"{train:g} a step"


def state(case: Case) -> str:
    """V6: state_bytes() is what the class declares, up to two numbers a tensor, and does not grow."""
    attempt = case.run()
    early, late = attempt.early_bytes, attempt.opt.state_bytes()
    expect(early == late, f"state grew from {early} to {late} bytes")
    numel = sum(p.numel() for _, p in attempt.scope.named)
    declared = 8 * sum(attempt.opt.state_of(tuple(p.shape)) for _, p in attempt.scope.named)
    slack = 16 * len(attempt.scope.named)
    expect(
        declared <= late <= declared + slack,
        f"state is {late} bytes for {numel} float64 parameters in {len(attempt.scope.named)} tensors; "
        f"state_per_parameter declares {declared:g} (or state_of, where the method has one)",
    )
    return f"{late} bytes"


def seeds(case: Case) -> str:
    """V7: the same seed gives the same bits; another seed does not."""
    first, (again, _) = case.run(), case.disturbed()
    expect(same(first.weights(), again.weights()), "two runs with one seed differ")
    other = case.attempt(seed=1)
    other.go(case.steps)
    if not any(r.wide for r in first.opt.log):
        expect(not same(first.weights(), other.weights()), "another seed gives the same run")
    return ""


def streams(case: Case) -> str:
    """V7: the global random streams neither matter nor move."""
    undisturbed, (disturbed, drew) = case.run(), case.disturbed()
    expect(not drew, "a step drew from torch's global random stream")
    expect(same(undisturbed.weights(), disturbed.weights()), "the run depends on a global random stream")
    return ""


def resume(case: Case) -> str:
    """V7: interrupted between two refreshes, saved, loaded with weights_only=True: the same bits."""
    first, second = case.attempt(), case.attempt()
    first.go(INTERRUPTED)
    saved = first.checkpoint()
    first.go(case.steps - INTERRUPTED)
    second.resume(saved)
    second.go(case.steps - INTERRUPTED)
    off = distance(first.weights(), second.weights())
    expect(same(first.weights(), second.weights()), f"the resumed run differs by {off:.1e}")
    expect(first.opt.forwards == second.opt.forwards, "the forward counter was not resumed")
    return ""


def from_log(case: Case) -> str:
    """V7: weights and state rebuilt from the log, bit for bit, without a forward."""
    first, second = case.run(), case.attempt()
    expected = first.weights()
    if any(r.wide for r in first.opt.log):
        raise NotApplicable("a step saw more than losses: replay needs a snapshot")
    second.opt.replay(first.opt.log)
    off = distance(expected, second.weights())
    expect(same(expected, second.weights()), f"the replayed weights differ by {off:.1e}")
    expect(not any(second.opt.forwards.values()), f"replay made forwards: {second.opt.forwards}")
    expect(first.opt.state_bytes() == second.opt.state_bytes(), "replay left another state")
    return ""


def counted(case: Case) -> str:
    """V9: one step a call, on the tensors of that step, from its seed: step k is k, whatever the method does."""
    attempt = case.attempt("rotating")
    opt, core = attempt.opt, _core(attempt.opt)
    iterate: Any = opt.iterate
    seen: list[tuple[int, list[str]]] = []

    def watched(losses: Losses) -> Any:
        seen.append((opt.t, [p.name for p in opt.active]))
        try:
            return iterate(losses)
        finally:
            seen.append((opt.t, [p.name for p in opt.active]))

    opt._keep(iterate=watched)
    for step in range(case.steps):
        seen.clear()
        attempt.go(1)
        on = attempt.scope.active(step)
        names = [n for n, _ in attempt.scope.named if on(n)]
        expect(len(seen) == 2, f"step {step} ran iterate {len(seen) // 2} times")
        for t, active in seen:
            expect(t == step, f"in step {step} the method's t was {t}")
            expect(active == names, f"step {step} was on {', '.join(active[:3])}, the scope lets {names[0]} move")
        log = opt.log[-1]
        expect(len(opt.log) == step + 1 and log.step == step, f"after step {step} the log holds {len(opt.log)} steps")
        expect(log.seed == opt.source.step_seed(step), f"step {step} drew from another step's seed")
        expect(opt.t == step + 1, f"after step {step} t is {opt.t}")
        changed = [name for name, kept in _core(opt).items() if kept != core[name]]
        expect(not changed, f"the method replaced {', '.join(changed)}, which the core keeps")
    return f"{case.steps} steps"


def _core(opt: Estimator) -> dict[str, Any]:
    """Which objects the core keeps on an estimator, and what it was made with."""
    groups = [(id(g), g["lr"], g["weight_decay"], [id(p) for p in g["params"]]) for g in opt.param_groups]
    one = {
        name: id(getattr(opt, name)) for name in ("engine", "source", "timers", "scope", "forwards", "log", "buffers")
    }
    return {
        **one,
        "param_groups": groups,
        "handles": [id(p) for p in opt.handles],
        "seed": (opt.seed, opt.source.seed),
        "check_finite": opt.check_finite,
    }


@cache
def _mezo(engine: str, problem: str, eps: float) -> Mapping[str, Tensor]:
    """The weights after a whole run of MeZO: the same for all classes that are held against it."""
    run = Case(ReferenceMeZO, {"eps": eps}, engine, problem).run()
    return run.weights()


def neutral(case: Case) -> str:
    """V8: at the class's neutral settings the run is MeZO's."""
    settings = neutral_of(case.cls)
    if settings is None:
        raise NotApplicable("the class declares no neutral settings")
    attempt = case.attempt(**settings)
    attempt.go(case.steps)
    reference = _mezo(case.engine, case.problem, float(getattr(attempt.opt, "eps", ReferenceMeZO.eps)))
    off = distance(attempt.weights(), reference)
    expect(off < 1e-9, f"with {dict(settings)} it differs from MeZO by {off:.1e}")
    return f"largest difference {off:.0e}"


CHECKS: Mapping[str, Callable[[Case], str]] = {
    "V1 replay": replay,
    "V2 restore": restore,
    "V3 frozen": frozen,
    "V3 masks": masks,
    "V5 forwards": forwards,
    "V6 state": state,
    "V7 seed": seeds,
    "V7 random streams": streams,
    "V7 resume": resume,
    "V7 replay log": from_log,
    "V8 neutral": neutral,
    "V9 steps": counted,
}
"""By name; check_estimator says what the numbers stand for."""
