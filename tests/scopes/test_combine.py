"""Scopes put together, taken apart, and by turns: entry by entry, step by step, on every engine."""

from types import SimpleNamespace

import pytest
import torch
from kits.toy_runs import MODES, MeZO, Run, apart

from zobench import Handle, Schedule, Scope, ZobenchError, complement, is_static, union

BLOCKS = [
    SimpleNamespace(index=i, parameter_names=lambda i=i: [f"layers.{i}.weight", f"layers.{i}.bias"]) for i in range(3)
]
STEPS = range(8)


def half(named, seed):
    g = torch.Generator().manual_seed(seed)
    return {n: torch.rand(p.shape, generator=g) < 0.5 for n, p in named}


@pytest.fixture
def named():
    return list(Run().model.named_parameters())


def moving(scope, step):
    """(name, flat index) of the entries that move in a step."""
    out, on = set(), scope.active(step)
    for name, p in scope.named:
        if on(name):
            mask = scope.mask(Handle(name, p, {}), step)
            mask = torch.ones_like(p, dtype=torch.bool) if mask is None else mask
            out |= {(name, i) for i in mask.flatten().nonzero().flatten().tolist()}
    return out


def turns(named, k):
    return Schedule(Scope(named), BLOCKS, lambda step: [(step // k) % 3])


def pieces(named):
    return {
        "block 0": Scope(named[:2], layers=(0,)),
        "half of 0 and 1": Scope(named[:4], masks=half(named[:4], 1), layers=(0, 1)),
        "another half": Scope(named[2:6], masks=half(named[2:6], 2), layers=(1, 2)),
        "turns": turns(named, 2),
        "masked turns": Schedule(Scope(named, masks=half(named, 3), layers=(0, 1, 2)), BLOCKS, lambda s: [s % 3]),
    }


@pytest.mark.parametrize("parts", [(0, 1), (1, 2), (0, 1, 2), (0, 3), (1, 4), (3, 4), (0, 1, 2, 3, 4), (2,)])
def test_a_union_moves_what_any_of_its_parts_moves(named, parts):
    scopes = [list(pieces(named).values())[i] for i in parts]
    both = union(Scope(named), scopes)
    for step in STEPS:
        assert moving(both, step) == set().union(*(moving(s, step) for s in scopes)), step
    assert [n for n, _ in both.named] == [n for n, _ in named if any(n in dict(s.named) for s in scopes)]
    assert both.layers == tuple(sorted({i for s in scopes for i in s.layers}))
    whole = set().union(*(moving(Scope(s.named, masks=s.masks), 0) for s in scopes))
    assert both.numel() == len(whole)
    assert (type(both) is Scope) == all(is_static(s) for s in scopes), "a plain one is replayed from its names"


def test_the_wrong_union_is_told_apart(named):
    a, b = list(pieces(named).values())[1:3]
    both = {n: a.masks[n] & b.masks[n] for n in a.masks.keys() & b.masks.keys()}
    wrong = Scope([(n, p) for n, p in named if n in both], masks=both)
    assert moving(wrong, 0) != moving(a, 0) | moving(b, 0) == moving(union(Scope(named), [a, b]), 0)


def test_masks_of_a_union_are_the_same_tensors_while_nothing_changes(named):
    """A new tensor would be taken for a change of the mask, and settle an engine that defers."""
    first, second = (Schedule(Scope(named, masks=half(named, s)), BLOCKS, lambda step: [0]) for s in (4, 5))
    both, p = union(Scope(named), [first, second]), Handle(*named[0], {})
    assert both.mask(p, 0) is both.mask(p, 7)


def test_a_union_of_schedules_agrees_over_engines():
    weights = []
    for engine, restore in MODES:
        run = Run(
            MeZO,
            engine=engine,
            restore=restore,
            scope=lambda n: union(Scope(n), [pieces(n)["masked turns"], pieces(n)["another half"]]),
        )
        run.go(7)
        weights.append(run.weights())
    assert max(apart(weights[0], w) for w in weights) < 1e-12


@pytest.mark.parametrize("whole", [False, True])
def test_a_complement_moves_what_is_left(named, whole):
    everything = Scope(named, masks={} if whole else half(named, 9))
    for name in ("block 0", "half of 0 and 1", "another half"):
        scope = pieces(named)[name]
        left = complement(everything, scope, BLOCKS)
        assert moving(left, 0) == moving(everything, 0) - moving(scope, 0)
        touched = {BLOCKS[i].index for i in range(3) if set(BLOCKS[i].parameter_names()) & set(dict(left.named))}
        assert set(left.layers) == touched and type(left) is Scope
    assert complement(Scope(named), pieces(named)["block 0"], BLOCKS).layers == (1, 2)


def test_a_schedule_of_blocks(named):
    other = [*named, ("head.weight", torch.zeros(2))]
    scope = Schedule(Scope(other, layers=(0, 1, 2)), BLOCKS, lambda step: [step % 3, 2])
    assert [sorted({n for n, _ in moving(scope, s)} - {"head.weight"}) for s in (0, 2)] == [
        ["layers.0.bias", "layers.0.weight", "layers.2.bias", "layers.2.weight"],
        ["layers.2.bias", "layers.2.weight"],
    ]
    assert all(("head.weight", 0) in moving(scope, s) for s in STEPS) and scope.layers == (0, 1, 2)
    assert not is_static(scope) and is_static(Scope(named))


def test_faults(named):
    with pytest.raises(ZobenchError, match=r"the schedule names decoder blocks \[7\] in step 3, which do not exist"):
        Schedule(Scope(named), BLOCKS, lambda step: [7]).active(3)
    with pytest.raises(ZobenchError, match="x is no parameter of the model"):
        union(Scope(named), [Scope([("x", torch.zeros(1))])])
    with pytest.raises(ZobenchError, match="the scope is empty"):
        union(Scope(named), [])
    with pytest.raises(ZobenchError, match="nothing is left"):
        complement(Scope(named), Scope(named))
    with pytest.raises(ZobenchError, match="Schedule changes with the step"):
        complement(Scope(named), turns(named, 2))
