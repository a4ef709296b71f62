"""Decoder blocks run by torch.compile: the same numbers up to rounding, whatever moves, and back as they were.

Tracing a cell takes seconds, and code that a compiler makes more: in slow tests. By default blocks run where the
compiled ones would; how they are traced is tested in tests/models/test_compiled.py.
"""

import shutil
from functools import partial

import pytest
import torch
from kits.run_kit import run

from zobench.errors import ZobenchError
from zobench.protocol.protocol import computation_from

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
CASES = {
    ("mezo", "all", "flat"): 3,
    ("mezo", "layer", "pair"): 2,
    ("mezo", "all", "streamed"): 0,
    ("adamw", "all", "flat"): 3,
}
"""(estimator, selector, engine): blocks of three that run compiled."""


def test_it_is_off_unless_asked_for_and_refused_where_bits_are_the_models_own():
    assert computation_from({}).compile == "off" and "compile" not in computation_from({}).record()
    assert computation_from({"compile": "blocks"}).record()["compile"] == "blocks"
    for engine in ("official", "official_fused"):
        with pytest.raises(ZobenchError, match="keeps the model's own arithmetic"):
            computation_from({"engine": engine, "compile": "blocks"})


@pytest.fixture
def traced(monkeypatch):
    """Blocks are traced as for a compiler, and what it would be given is run by torch."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))


@pytest.mark.parametrize(("estimator", "selector", "engine"), list(CASES))
def test_a_cell_runs_the_blocks_that_were_handed_over(world, tmp_path, monkeypatch, estimator, selector, engine):
    ran = []

    def handed_over(forward, dynamic):
        def run_instead(*args, **kwargs):
            ran.append(torch.is_grad_enabled())
            return forward(*args, **kwargs)

        return run_instead

    monkeypatch.setattr(torch, "compile", handed_over)
    assert_same_numbers(world, tmp_path, estimator, selector, engine)
    assert bool(ran) == bool(CASES[estimator, selector, engine])


@pytest.mark.slow
@pytest.mark.parametrize(("estimator", "selector", "engine"), list(CASES))
def test_a_traced_cell_gives_the_same_numbers(world, tmp_path, traced, estimator, selector, engine):
    assert_same_numbers(world, tmp_path, estimator, selector, engine)


@pytest.mark.slow
@pytest.mark.parametrize(("estimator", "selector", "engine"), list(CASES))
def test_a_cell_gives_the_same_numbers(world, tmp_path, estimator, selector, engine):
    assert_same_numbers(world, tmp_path, estimator, selector, engine)


def assert_same_numbers(world, tmp_path, estimator, selector, engine):
    made = {}
    for wish in ("off", "blocks"):
        settings = {
            "engine": engine,
            "compile": wish,
            "steps": 2,
            "eval_every": 1,
            **({"layer__index": 1} if selector == "layer" else {}),
        }
        (made[wish],) = run(world, tmp_path / wish, [estimator], [selector], ["sst2"], **settings)
        assert made[wish]["status"] == "ok", made[wish]["error"]
    plain, fast = made["off"], made["blocks"]
    assert (plain["engine"].get("compiled"), fast["engine"]["compiled"]) == (None, CASES[estimator, selector, engine])
    curves = [[loss for _, loss in record["trials"][0]["curve"]] for record in (plain, fast)]
    assert curves[0] == pytest.approx(curves[1], abs=1e-4)
    assert plain["metrics"]["test"]["items"] == fast["metrics"]["test"]["items"]
    assert plain["forwards"] == fast["forwards"]
    assert plain["id"] != fast["id"]


@pytest.mark.slow  # generation runs the blocks as they are: tests/models/test_compiled.py
def test_a_task_that_generates_gives_the_same_scores(world, tmp_path, traced):
    made = []
    for wish in ("off", "blocks"):
        made += run(world, tmp_path / wish, ["mezo"], ["layer"], ["squad"], compile=wish, layer__index=1)
    assert made[0]["metrics"]["test"]["items"] == made[1]["metrics"]["test"]["items"]
