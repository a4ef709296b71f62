# ruff: noqa: E501 (tables)
"""What plugins do wrong ends in one line and the right status, whatever it is, and costs nobody else a cell."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest

from zobench.cli import main

SIZES = {
    "num_train": 16, "num_dev": 4, "num_test": 4, "protocol.batch_size": 4, "protocol.steps": 2, "eval_every": 1,
    "speed_steps": 0, "max_new_tokens": 2,
}  # fmt: skip

HEAD = """
import sys
import torch
from zobench import *


def plain(self, losses):
    z = self.noise()
    plus, minus = losses(self.eps * z, -self.eps * z)
    self.descend((plus - minus) / (2 * self.eps) * z)
    return plus


class Plain(Estimator):
    "MeZO."
    eps: Positive = 1e-3
    iterate = plain


class First(Selector):
    "The first block."

    def select(self, context):
        return context.layers(0)
"""

STEP = "z = self.noise(); lp, lm = losses(self.eps * z, -self.eps * z)"
ESTIMATORS: dict[str, tuple[str, str, str]] = {
    # name: (body of the class, status, what the error says)
    "no_iterate": ("iterate = Estimator.iterate", "error", "has no iterate(self, losses)"),
    "looks_at_nothing": ("def iterate(self, losses): pass", "error", "looked at no loss and returned none"),
    "returns_text": (f"def iterate(self, losses):\n    {STEP}\n    return 'low'", "error", "returned str"),
    "returns_complex": (f"def iterate(self, losses):\n    {STEP}\n    return lp * 1j", "error", "complex"),
    "returns_a_vector": (f"def iterate(self, losses):\n    {STEP}\n    return lp.repeat(3)", "error", "shape (3,)"),
    "returns_a_pair": (f"def iterate(self, losses):\n    {STEP}\n    return lp, lm", "error", "returned tuple"),
    "returns_a_direction": (f"def iterate(self, losses):\n    {STEP}\n    return z", "error", "returned Direction"),
    "is_a_generator": (f"def iterate(self, losses):\n    {STEP}\n    yield lp", "error", "returned generator"),
    "returns_nan": (f"def iterate(self, losses):\n    {STEP}\n    return lp * float('nan')", "diverged", "nan"),
    "wrong_signature": ("def iterate(self): pass", "error", "iterate"),
    "moves_along_a_tensor": (f"def iterate(self, losses):\n    {STEP}\n    self.descend(lp)", "error", "got Tensor"),
    "moves_along_a_number": (f"def iterate(self, losses):\n    {STEP}\n    self.move(1.0)", "error", "got float"),
    "wrong_shape": ("def iterate(self, losses):\n    losses(self.noise(shape=lambda p: (3, 5, 7)))", "error", "shape"),
    "moves_nan": (
        f"def iterate(self, losses):\n    {STEP}\n    self.descend(float('nan') * z)\n    return lp",
        "diverged",
        "nan",
    ),
    "looks_far": (
        "def iterate(self, losses):\n    z = self.noise()\n    return losses(1e38 * z)[0]",
        "diverged",
        "the loss of step 0",
    ),
    "looks_along_text": ("def iterate(self, losses): return losses('down')[0]", "error", "got str"),
    "unknown_noise": (
        "def iterate(self, losses): return losses(self.noise('gausian'))[0]",
        "error",
        "did you mean 'gaussian'",
    ),
    "compares_directions": ("def iterate(self, losses):\n    if self.noise(): pass", "error", "has no truth value"),
    "recurses": ("def iterate(self, losses): return self.iterate(losses)", "error", "RecursionError"),
    "exits": ("def iterate(self, losses): sys.exit(0)", "error", "SystemExit: 0"),
    "base_exception": (
        "def iterate(self, losses):\n    class Odd(BaseException): pass\n    raise Odd('odd')",
        "error",
        "Odd: odd",
    ),
    "two_lines": ("def iterate(self, losses): raise ValueError('one\\ntwo')", "error", "ValueError: one"),
    "cannot_be_said": (
        "def iterate(self, losses):\n    class Dumb(Exception):\n        def __str__(self): return 1 / 0\n    raise Dumb",
        "error",
        "Dumb",
    ),
    "lone_surrogate": ("def iterate(self, losses): raise ValueError('\\ud800')", "error", "ValueError"),
    "control_characters": ("def iterate(self, losses): raise ValueError('a\\x1b[31m\\x00b')", "error", "ValueError"),
    "long_story": ("def iterate(self, losses): raise ValueError('x' * 100_000)", "error", "ValueError: xxx"),
    "keyboard": ("def setup(self): self.keys = 1 / 0", "error", "ZeroDivisionError"),
    "counts_steps": ("def setup(self): self.t = 0", "error", "self.t is zobench's own"),
    "steps_in_a_step": ("def iterate(self, losses): return self.step(losses.base)", "error", "iterate calls step"),
    "own_init": ("def __init__(self, *args, **options): pass", "error", "Error"),
    "needs_a_setting": (
        "side: str = ''\n\ndef setup(self):\n    if not self.side: raise ZobenchError('which side?')",
        "error",
        "which side?",
    ),
    "buffer_of_nothing": (
        "def iterate(self, losses):\n    self.buffer('m', init=lambda p: 1 / 0).assign(self.noise())",
        "error",
        "ZeroDivision",
    ),
    "assigns_a_tensor": ("def iterate(self, losses):\n    self.buffer('m').assign(torch.ones(3))", "error", "Tensor"),
    "two_held": (
        "def iterate(self, losses):\n    return losses(self.noise(every=2) + self.noise(every=2))[0]",
        "error",
        "held under the label",
    ),
    "long_ago": ("def iterate(self, losses): return losses(self.noise(ago=5))[0]", "error", "steps back"),
    "wants_memory": ("def iterate(self, losses): raise MemoryError('no room')", "oom", "no room"),
    "gradient_of_none": (
        "def iterate(self, losses): return losses.with_inputs(lambda p, x: None)[0]",
        "error",
        "Error",
    ),
    "torch_on_a_direction": ("def iterate(self, losses): return torch.relu(self.noise())", "error", "lazy direction"),
    "no_copy": ("def __deepcopy__(self, memo): raise ValueError\n", "ok", ""),
}
SELECTORS: dict[str, tuple[str, str, str]] = {
    "s_none": ("return None", "error", "select returned NoneType, not a zobench.Scope"),
    "s_list": ("return [0, 1]", "error", "select returned list, not a zobench.Scope"),
    "s_empty": ("return Scope([])", "error", "the scope is empty"),
    "s_no_layers": ("return context.layers()", "error", "no decoder blocks"),
    "s_foreign": (
        "return Scope([('lm_head.weight', torch.nn.Parameter(torch.ones(2)))])",
        "error",
        "not the model's own",
    ),
    "s_misnamed": ("n, p = context.layers(0).named[0]; return Scope([('other', p)])", "error", "not the model's own"),
    "s_copies": ("return Scope([(n, p.clone()) for n, p in context.layers(0).named])", "error", "not the model's own"),
    "s_twice": ("named = context.layers(0).named; return Scope([*named, *named])", "error", "two parameters are named"),
    "s_far": ("return context.layers(99)", "error", "decoder blocks 0 to"),
    "s_mask": (
        "s = context.layers(0); return Scope(s.named, masks={s.named[0][0]: torch.ones(3)})",
        "error",
        "mask of",
    ),
    "s_mask_of_none": (
        "s = context.layers(0); return Scope(s.named, masks={'x': torch.ones(3)})",
        "error",
        "not in the scope",
    ),
    "s_raises": ("raise KeyError('x')", "error", "KeyError: 'x'"),
    "s_recurses": ("return self.select(context)", "error", "RecursionError"),
    "s_exits": ("sys.exit(3)", "error", "SystemExit: 3"),
    "s_notes_a_tensor": ("context.note(x=torch.ones(1)); return context.layers(0)", "error", "what JSON knows"),
    "s_counts_down": ("context.count('probe', -5); return context.layers(0)", "error", "forwards are counted"),
    "s_counts_words": ("context.count('probe', 'many'); return context.layers(0)", "error", "forwards are counted"),
    "s_never_moves": (
        "return Schedule(context.layers(0), context.blocks, lambda step: [])",
        "error",
        "no parameter may move",
    ),
    "s_strange_block": (
        "return Schedule(context.layers(0), context.blocks, lambda step: [77])",
        "error",
        "do not exist",
    ),
    "s_probes_nothing": ("context.probe(None, 1); return context.layers(0)", "error", "not a zobench.Scope"),
    "s_probes_foreign": (
        "context.probe(Scope([('x', torch.nn.Parameter(torch.ones(2)))]), 1); return context.layers(0)",
        "error",
        "not the model's own",
    ),
    "s_unknown_word": ("context.test_batches(3); return context.layers(0)", "error", "AttributeError"),
}


def plugin(tmp_path: Path) -> Path:
    """One file with all of them."""
    parts = [HEAD]
    for name, (body, *_) in ESTIMATORS.items():
        parts.append(f"class {name}(Plain):\n    '''It is wrong.'''\n" + indent(body, "    ") + "\n")
    for name, (body, *_) in SELECTORS.items():
        parts.append(
            f"class {name}(Selector):\n    '''It is wrong.'''\n    def select(self, context):\n"
            + indent(body, " " * 8)
            + "\n"
        )
    for kind, names in (("estimators", ["plain_zo", *ESTIMATORS]), ("selectors", ["first", *SELECTORS])):
        own = {"plain_zo": "Plain", "first": "First"}
        table = ", ".join(f"{name!r}: {own.get(name, name)}" for name in names)
        parts.append(f"@hookimpl\ndef zobench_{kind}():\n    return {{{table}}}\n")
    path = tmp_path / "misdeeds.py"
    path.write_text("\n".join(parts))
    return path


def run(tmp_path: Path, *more: str) -> int:
    words = ["run", "--offline", "--device", "cpu", "--preset", "smoke", "--tasks", "sst2", "--lr", "1e-4", *more]
    return main(
        [*words, "--results", str(tmp_path / "r"), *(x for k, v in SIZES.items() for x in ("--set", f"{k}={v}"))]
    )


def records(tmp_path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    found = [json.loads(p.read_text(encoding="utf-8")) for p in sorted((tmp_path / "r" / "cells").glob("*.json"))]
    return {(r["cell"]["estimator"], r["cell"]["selector"]): r for r in found}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    """The records of one run of all of them, with the right ones first and last."""
    folder = tmp_path_factory.mktemp("misdeeds")
    file = str(plugin(folder))
    estimators = ",".join(["plain_zo", *ESTIMATORS])
    assert run(folder, "--plugin", file, "--estimator", estimators, "--selector", "first") == 1
    assert (
        run(folder, "--plugin", file, "--estimator", "plain_zo", "--selector", ",".join([*SELECTORS, "layer:0"])) == 1
    )
    alone = folder / "alone"
    assert run(alone, "--plugin", file, "--estimator", "plain_zo", "--selector", "layer:0") == 0
    return records(folder) | {("alone", "layer:0"): records(alone)["plain_zo", "layer:0"]}


@pytest.mark.parametrize("name", [*ESTIMATORS, *SELECTORS])
def test_a_misdeed_is_a_record_that_says_so_in_one_line(everything, name):
    key = (name, "first") if name in ESTIMATORS else ("plain_zo", name)
    _, status, says = (ESTIMATORS | SELECTORS)[name]
    record = everything[key]
    assert record["status"] == status, record["error"]
    if status != "ok":
        assert says in record["error"] and record["error"].isprintable() and len(record["error"]) < 1000


def test_the_right_ones_among_them_are_right(everything):
    assert everything["plain_zo", "first"]["status"] == everything["plain_zo", "layer:0"]["status"] == "ok"
    last, alone = everything["plain_zo", "layer:0"], everything["alone", "layer:0"]
    for what in ("metrics", "trials", "chosen"):
        assert last[what] == alone[what]


# ---- what is wrong before anything runs

LOAD: dict[str, tuple[str, str]] = {
    "syntax": ("def f(:", "SyntaxError"),
    "null byte": ("x = 1\x00", "null bytes"),
    "indentation": ("def f():\nreturn 1", "IndentationError"),
    "import": ("import nowhere_at_all", "No module named 'nowhere_at_all' (bad.py:1)"),
    "exit": ("import sys; sys.exit(0)", "SystemExit: 0 (bad.py:1)"),
    "raises": ("raise ValueError('a\\nb')", "ValueError: a b (bad.py:1)"),
    "says nothing": ("class D(Exception):\n    def __str__(self): return 1 / 0\nraise D", "D: (its text cannot be had) (bad.py:3)"),
    "recursion": ("def f(): return f()\nf()", "RecursionError"),
    "base exception": ("class B(BaseException): pass\nraise B('b')", "B: b (bad.py:2)"),
    "empty": ("", "it has no hook"),
    "hook is no function": ("zobench_tasks = 3", "it has no hook"),
    "hook returns none": ("from zobench import *\n@hookimpl\ndef zobench_tasks(): pass", "returned None, not a mapping"),
    "hook is async": ("from zobench import *\n@hookimpl\nasync def zobench_tasks(): return {}", "not a mapping"),
    "hook is a generator": ("from zobench import *\n@hookimpl\ndef zobench_tasks(): yield 1", "not a mapping"),
    "name is a number": ("from zobench import *\n@hookimpl\ndef zobench_models(): return {3: print}", "3 is no name"),
    "non-ascii name": ("from zobench import *\n@hookimpl\ndef zobench_models(): return {'é': print}", "'é' is no name"),
    "an object": ("from zobench import *\nclass E(Estimator): 'e'\n@hookimpl\ndef zobench_estimators(): return {'e': E.__new__(E)}", "is not a subclass of zobench.Estimator"),
    "the base itself": ("from zobench import *\n@hookimpl\ndef zobench_selectors(): return {'e': Selector}", "is not a subclass"),
    "a selector as estimator": ("from zobench import *\nclass S(Selector): 's'\n@hookimpl\ndef zobench_estimators(): return {'s': S}", "is not a subclass of zobench.Estimator"),
    "bad annotation": ("from zobench import *\nclass S(Selector):\n    x: 'Nowhere' = 1\n@hookimpl\ndef zobench_selectors(): return {'s': S}", "NameError: name 'Nowhere' is not defined"),
    "annotation that raises": ("from zobench import *\nclass S(Selector):\n    x: '1 / 0' = 1\n@hookimpl\ndef zobench_selectors(): return {'s': S}", "ZeroDivisionError"),
    "bad default": ("from zobench import *\nclass S(Selector):\n    x: Count = 0\n@hookimpl\ndef zobench_selectors(): return {'s': S}", "its own default does not fit: x=0: must be at least 1 (bad.py:3)"),
    "executor instance": ("from zobench import *\nclass X:\n    def run(self): pass\n@hookimpl\ndef zobench_executors(): return {'x': X()}", "is not a class with a method `run`"),
    "column of text": ("from zobench import *\n@hookimpl\ndef zobench_leaderboard_columns(): return {'n': 'len'}", "is not a heading and a function"),
    "infinite hook": ("from zobench import *\n@hookimpl\ndef zobench_tasks(): return zobench_tasks()", "RecursionError"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOAD)
def test_a_file_that_is_wrong_is_one_line_and_exit_2(tmp_path, capsys, name):
    source, says = LOAD[name]
    (tmp_path / "bad.py").write_text(source)
    assert main(["ls", "--plugin", str(tmp_path / "bad.py")]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("zobench: error: plugin file ") and err.count("\n") == 1 and says in err, err
    assert out == "" and len(err) < 3000


def test_a_folder_of_misdeeds_is_large_enough():
    assert len(ESTIMATORS) + len(SELECTORS) + len(LOAD) + len(PLAN) >= 76


PLAN: dict[str, tuple[str, list[str], str]] = {
    "task of no file": ("def zobench_tasks(): return {'t': Path('/nowhere/t.toml')}", ["--tasks", "t"], "cannot read the task file"),
    "task that is a folder": ("def zobench_tasks(): return {'t': Path('/tmp')}", ["--tasks", "t"], "/tmp"),
    "lazy task of nothing": ("def zobench_tasks(): return {'t': 'nowhere_at_all:T'}", ["--tasks", "t"], "cannot be imported"),
    "task of another kind": ("def zobench_tasks(): return {'t': 'json:dumps'}", ["--tasks", "t"], "is not a pathlib.Path"),
    "model of none": ("def zobench_models(): return {'m': lambda **k: None}", ["--model", "m"], "returned NoneType"),
    "model that raises": ("def zobench_models(): return {'m': lambda **k: 1 / 0}", ["--model", "m"], "ZeroDivisionError"),
    "model that exits": ("def zobench_models(): return {'m': lambda **k: exit(0)}", ["--model", "m"], "SystemExit: 0"),
    "model that takes nothing": ("def zobench_models(): return {'m': lambda: 1}", ["--model", "m"], "unexpected keyword argument"),
    "executor that takes an argument": (
        "def zobench_executors():\n    class X:\n        def __init__(self, n): pass\n        def run(self, c, r): yield\n    return {'x': X}",
        ["--executor", "x"],
        "executor x raised TypeError",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAN)
def test_what_is_wrong_at_planning_is_one_line_and_exit_2(tmp_path, capsys, name):
    source, words, says = PLAN[name]
    head = "from pathlib import Path\nfrom zobench import hookimpl\n@hookimpl\n"
    (tmp_path / "bad.py").write_text(head + dedent(source))
    more = ["--plugin", str(tmp_path / "bad.py"), "--estimator", "mezo", *words]
    assert run(tmp_path, *more) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("zobench: error:")]
    assert len(errors) == 1 and says in errors[0], errors
    assert not list((tmp_path / "r").glob("cells/*.json"))
