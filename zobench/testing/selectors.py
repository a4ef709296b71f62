"""check_selector: what every selector must hold, on a small world with planted blocks."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..contracts.selector import Selector
from ..directions.handle import Handle
from ..models.load import LoadedModel
from ..scopes.scope import Scope
from .attempt import same
from .expect import NotApplicable, expect
from .kit import note
from .planted import LAYERS, MARKS, PLANTS, TrialContext, planted, watching
from .reference_mezo import ReferenceMeZO
from .report import Report

STEPS = 130
"""Steps of a schedule that are looked at: two turns and more of those that hold for 50."""


def check_selector(cls: type[Selector], *, finds: Mapping[str, int] | None = None, **settings: Any) -> Report:
    """Check that a selector does what it says, in a LLaMA of four blocks with an outlier planted in block 1.

        def test_my_selector():
            check_selector(MySelector)

    The checks:

    - S1 the same context gives the same scope and the same facts, whatever global random streams do, which it leaves;
    - S2 no test item is asked for or passes through the model, and dev items only inside `context.probe`;
    - S3 the forwards counted are those that were made, and those of `expected_forwards`;
    - S4 the model is as it was: every bit of it, its modules, flags and hooks;
    - S5 the scope is of the model's own tensors, in their order, never empty, and tells the blocks it touches;
    - S6 a schedule is a function of the step, in whatever order steps are asked for;
    - S7 an estimator moves something of it, and nothing else;
    - S8 in models with something planted in one block, that block is chosen, for each block.

    Args:
        cls: the selector class; of an expression, what `plugins.selector("first_outlier+layer:3")` gives.
        finds: for S8, planted models (see zobench.testing.planted.PLANTS: outlier, sensitive) and the first block that
            the rule can find; by default what the class says under `planted`.
        settings: of the selector, for all checks; they take precedence over the class's `exercise`.

    Returns the report. Raises AssertionError with the report's failures as its message.
    """
    given = {**cls.exercise, **settings}
    report = Report(cls.__name__, given)
    case = SelectorCase(cls, given)
    for name, check in CHECKS.items():
        note(report, name, "-", "planted", lambda check=check: check(case))  # type: ignore[misc]
    for plant, first in (cls.planted if finds is None else finds).items():
        note(report, f"S8 finds {plant}", "-", "planted", lambda p=plant, f=first: _finds(case, p, f))  # type: ignore[misc]
    if not report.passed:
        raise AssertionError(report.summary())
    return report


@dataclass(eq=False)
class SelectorCase:
    """What is checked: a selector with its settings. `trial` is one selection, the same one at every call."""

    cls: type[Selector]
    settings: Mapping[str, Any]
    _done: list[SelectionTrial] = field(default_factory=list, repr=False)

    @property
    def trial(self) -> SelectionTrial:
        """A selection in the world with an outlier in block 1."""
        if not self._done:
            self._done.append(SelectionTrial(self))
        return self._done[0]


class SelectionTrial:
    """One selection in a new world, watched."""

    def __init__(self, case: SelectorCase, plant: str = "outlier", index: int = 1) -> None:
        self.loaded = planted(plant, index)
        self.context = TrialContext(self.loaded, seed=0)
        self.before, self.streams = state(self.loaded), _streams()
        self.selector = case.cls(**case.settings)
        probe, inside = self.context.probe, [0]

        def watched_probe(*args: Any, **options: Any) -> Any:
            outside = set(self.seen.tokens)
            with watching(self.loaded) as seen:
                result = probe(*args, **options)
            inside[0] += seen.forwards
            self.of_probes |= seen.tokens
            self.seen.tokens = outside
            return result

        self.of_probes: set[int] = set()
        self.context.probe = watched_probe  # type: ignore[method-assign]
        with watching(self.loaded) as self.seen:
            self.scope = self.selector.select(self.context)
        self.after, self.streams_after = state(self.loaded), _streams()
        self.probed = inside[0]


def state(loaded: LoadedModel) -> dict[str, Any]:
    """All that a selector must leave as it found it; tensors as copies."""
    model: nn.Module = loaded.model
    modules = list(model.named_modules())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "weights": {name: p.detach().clone() for name, p in model.named_parameters()},
        "buffers": {name: b.detach().clone() for name, b in model.named_buffers()},
        "flags": [p.requires_grad for p in model.parameters()],
        "modules": [(name, id(module)) for name, module in modules],
        "training": [module.training for _, module in modules],
        "hooks": [len(getattr(module, kind)) for _, module in modules for kind in hooks],
    }


def _streams() -> tuple[Any, ...]:
    numpy_state: Any = np.random.get_state()
    return torch.get_rng_state().tolist(), numpy_state[1].tolist(), numpy_state[2], random.getstate()


def deterministic(case: SelectorCase) -> str:
    """S1: the same scope twice, with the global streams elsewhere the second time, and left alone."""
    first = case.trial
    kept = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        torch.manual_seed(17)
        np.random.seed(17)
        random.seed(17)
        second = SelectionTrial(case)
        moved = second.streams != second.streams_after
    finally:
        torch.set_rng_state(kept[0])
        np.random.set_state(kept[1])
        random.setstate(kept[2])
    difference = differ(first.scope, second.scope)
    expect(not difference, f"the same context gave another scope: {difference}")
    expect(first.context.facts == second.context.facts, "the same context gave other facts")
    expect(not moved, "it draws from a global random stream")
    return ""


def differ(a: Scope, b: Scope) -> str:
    """In what two scopes differ, over the steps looked at; empty if in nothing."""
    names = [name for name, _ in a.named]
    if names != [name for name, _ in b.named]:
        return "other tensors"
    if a.layers != b.layers:
        return f"layers {a.layers} and {b.layers}"
    for step in range(STEPS):
        on, also = a.active(step), b.active(step)
        if [on(name) for name in names] != [also(name) for name in names]:
            return f"other tensors move in step {step}"
    for (name, p), (_, q) in zip(a.named, b.named, strict=True):
        mine, other = a.mask(Handle(name, p, {}), 0), b.mask(Handle(name, q, {}), 0)
        if (mine is None) != (other is None) or (mine is not None and other is not None and not mine.equal(other)):
            return f"another mask of {name}"
    return ""


def no_test_item(case: SelectorCase) -> str:
    """S2: nothing of test is asked for, or passes through the model; dev only in probes."""
    trial = case.trial
    expect(not trial.context.watched.asked, f"it asked for {', '.join(trial.context.watched.asked)}")
    expect(MARKS["test"] not in trial.seen.tokens | trial.of_probes, "a test item passed through the model")
    expect(MARKS["dev"] not in trial.seen.tokens, "a dev item passed through the model outside of a probe")
    return f"{len(trial.seen.tokens)} different tokens seen"


def forwards(case: SelectorCase) -> str:
    """S3: counted, made and expected forwards agree."""
    trial = case.trial
    counted = dict(trial.context.forwards)
    strange = set(counted) - {"calibration", "probe"}
    expect(not strange, f"forwards are counted as {', '.join(sorted(strange))}, not as calibration or probe")
    made, said = trial.seen.forwards, sum(counted.values())
    expect(said == made, f"{made} forwards were made, {counted or 'none'} counted")
    expect(
        counted.get("probe", 0) == trial.probed, f"{trial.probed} forwards in probes, {counted.get('probe', 0)} counted"
    )
    told = trial.selector.expected_forwards(LAYERS, 2, 2)
    expect(told == made, f"{made} forwards were made, expected_forwards says {told}")
    return f"{counted}" if counted else "none"


def untouched(case: SelectorCase) -> str:
    """S4: weights, buffers, flags, modules and hooks as before."""
    before, after = case.trial.before, case.trial.after
    for what in ("weights", "buffers"):
        changed = [name for name in before[what] if not _bits(before[what][name], after[what].get(name))]
        expect(not changed, f"{what} were not put back: {', '.join(changed[:3])}")
        expect(before[what].keys() == after[what].keys(), f"the model has other {what}")
    for what, words in (
        ("flags", "requires_grad was changed"),
        ("modules", "modules were replaced"),
        ("training", "modules were put into another mode"),
        ("hooks", "hooks were left on the model"),
    ):
        expect(before[what] == after[what], words)
    return ""


def _bits(a: Tensor, b: Tensor | None) -> bool:
    return b is not None and a.dtype == b.dtype and torch.equal(a.view(torch.uint8), b.view(torch.uint8))


def sound(case: SelectorCase) -> str:
    """S5: the model's own tensors, in its order, never none of them; `layers` are the blocks touched."""
    scope, own = case.trial.scope, dict(case.trial.loaded.model.named_parameters())
    names = [name for name, _ in scope.named]
    strange = [name for name, p in scope.named if own.get(name) is not p]
    expect(not strange, f"{', '.join(strange[:3])}: not the model's own parameters of that name")
    expect(names == [name for name in own if name in set(names)], "the tensors are not in the model's order")
    for step in range(STEPS):
        on = scope.active(step)
        expect(any(on(name) for name in names), f"nothing may move in step {step}")
    for name, p in scope.named:
        mask = scope.mask(Handle(name, p, {}), 0)
        expect(mask is None or mask.shape == p.shape, f"the mask of {name} has another shape")
    blocks = case.trial.loaded.blocks
    touched = tuple(block.index for block in blocks if set(names) & set(block.parameter_names()))
    if scope.layers:
        expect(scope.layers == touched, f"it touches blocks {touched} and tells {scope.layers}")
    return f"{scope}"


def function_of_the_step(case: SelectorCase) -> str:
    """S6: asked backwards, forwards, and of another trial: the same."""
    scope = case.trial.scope
    names = [name for name, _ in scope.named]

    def at(step: int) -> list[bool]:
        on = scope.active(step)
        return [on(name) for name in names]

    backwards = {step: at(step) for step in reversed(range(STEPS))}
    wrong = next((step for step in range(STEPS) if at(step) != backwards[step]), None)
    expect(wrong is None, f"step {wrong} moves other tensors when it is asked for again")
    changes = sum(backwards[step] != backwards[step - 1] for step in range(1, STEPS))
    if not changes:
        raise NotApplicable("the scope is the same in every step")
    return f"{changes} changes in {STEPS} steps"


def trains(case: SelectorCase) -> str:
    """S7: a few steps of MeZO move active, unmasked entries and nothing else."""
    trial = SelectionTrial(case)
    scope, model, watched = trial.scope, trial.loaded.model, trial.context.watched
    opt = ReferenceMeZO(scope, lr=1e-2, engine="flat")
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    for step in range(6):
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        on, inside = scope.active(step), dict(scope.named)
        masks = {name: scope.mask(Handle(name, p, {}), step) for name, p in inside.items() if on(name)}  # of theta now
        opt.step(lambda step=step: watched.loss(model, watched.train_batch([step, step + 6])))  # type: ignore[misc]
        opt.settle()
        for name, p in model.named_parameters():
            changed = p.detach() != before[name]
            expect(name in masks or not bool(changed.any()), f"{name} moved in step {step}, where it may not")
            mask = masks.get(name)
            expect(mask is None or not bool((changed & ~mask).any()), f"masked entries of {name} moved")
    now = {name: p.detach() for name, p in model.named_parameters()}
    expect(not same(now, start), "nothing moved")
    return ""


def _finds(case: SelectorCase, plant: str, first: int) -> str:
    """S8: whichever block it is planted in, from the first that the rule can find."""
    if plant not in PLANTS:
        raise ValueError(f"nothing called {plant!r} can be planted; known: {', '.join(PLANTS)}")
    for index in range(first, LAYERS):
        layers = SelectionTrial(case, plant, index).scope.layers
        expect(layers == (index,), f"planted in block {index}, it chose {layers}")
    return f"blocks {first} to {LAYERS - 1}"


CHECKS: Mapping[str, Callable[[SelectorCase], str]] = {
    "S1 deterministic": deterministic,
    "S2 no test item": no_test_item,
    "S3 forwards": forwards,
    "S4 untouched": untouched,
    "S5 sound scope": sound,
    "S6 schedule": function_of_the_step,
    "S7 trains": trains,
}
