"""What a run takes on devices other than a CPU where nothing is said; on a CPU all stays what it ever was."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from kits.run_kit import carry_out, plan

from zobench.errors import ZobenchError
from zobench.plugins.registry import load_plugins
from zobench.run import work
from zobench.run.device_defaults import for_device
from zobench.run.place import Place, check_map
from zobench.run.plan import make_plan, outline_of
from zobench.run.routing import route
from zobench.run.wish import Wish

PLUGINS = load_plugins()


def routed(kind: str, preset: str, *estimators: str, **settings: str):
    plugins = load_plugins()
    wish = Wish(estimators, ("all",), ("sst2",), preset=preset, settings=settings)
    return for_device(route(wish, plugins), wish, plugins, kind)


def computed(*words: str, **settings: str):
    return routed(*words, **settings).computation


@pytest.mark.parametrize("preset", ["small", "paper"])
def test_a_cpu_keeps_the_defaults(preset):
    made = computed("cpu", preset, "mezo", "adamw")
    assert (made.noise, made.dtype) == ("per_tensor", "float32")


@pytest.mark.parametrize("kind", ["cuda", "xpu", "mps"])
def test_elsewhere_noise_is_counted_unless_another_is_asked_for(kind):
    assert computed(kind, "small", "mezo").noise == "philox"
    assert computed(kind, "small", "mezo", noise="official").noise == "official"
    assert computed(kind, "small", "mezo", **{"run.noise": "per_tensor"}).noise == "per_tensor"
    assert computed(kind, "small", "mezo").dtype == "float32"


def test_the_paper_s_dtypes():
    assert computed("cuda", "paper", "mezo").dtype == "float16"
    assert computed("cuda", "paper", "adamw", "zero_shot").dtype == "bfloat16"
    assert computed("cuda", "paper", "mezo", "adamw").dtype == "float16"
    assert computed("cuda", "paper", "mezo", dtype="float32").dtype == "float32"
    gradients = [
        routed("cuda", "paper", "mezo", "adamw", **said).first_order.computation.dtype
        for said in ({}, {"dtype": "float32"})
    ]
    assert gradients == ["bfloat16", "float32"]
    assert routed("cuda", "small", "mezo", "adamw").first_order.computation == computed("cuda", "small", "mezo")
    assert computed("cuda", "paper", "forward_grad").dtype == "float16"  # it looks along directions


SIZES = {"num_train": "20", "num_dev": "4", "num_test": "4"}


def cells(world, tmp_path, device="cpu", preset="paper", **settings):
    wish = Wish(("adamw", "zero_shot", "mezo", "sgd"), ("all",), ("sst2", "copa"), (0,), preset, None, settings)
    place = Place(str(world.model), world.data, tmp_path, "cpu", True)
    outline = None if device == "cpu" else outline_of(place, PLUGINS, "float16")
    if outline is not None:
        outline.loaded.device = torch.device(device)  # of a machine that has one
    return make_plan(wish, place, PLUGINS, outline).todo


def test_first_order_methods_take_the_paper_s_batches_and_epochs(world, tmp_path):
    """Of 20 training examples 3 batches of 8 an epoch, evaluated after each; what is said by the user goes before."""
    of = {(c.task, c.estimator): c for c in cells(world, tmp_path, **SIZES)}
    rules = of["copa", "adamw"].protocol
    assert (rules.batch_size, rules.steps, rules.eval_every) == (8, 15, 3)
    assert of["sst2", "sgd"].protocol == rules
    for name in ("mezo", "zero_shot"):
        rules = of["sst2", name].protocol
        assert (rules.batch_size, rules.steps, rules.eval_every) == (16, 10_000, 2_000)
    said = {c.estimator: c.protocol for c in cells(world, tmp_path, **SIZES, batch_size="4", steps="6", eval_every="6")}
    assert said["adamw"] == said["mezo"] and said["mezo"].batch_size == 4 and said["mezo"].steps == 6
    assert len({c.protocol for c in cells(world, tmp_path, preset="small")}) == 1


def test_cells_of_another_dtype_come_last(world, tmp_path):
    made = [(c.estimator, c.computation.dtype) for c in cells(world, tmp_path, "cuda", **SIZES)]
    assert made == [
        *[(name, "float16") for _ in range(2) for name in ("zero_shot", "mezo")],
        *[(name, "bfloat16") for _ in range(2) for name in ("adamw", "sgd")],
    ]


def test_the_model_is_loaded_once_in_each_dtype(world, tmp_path, monkeypatch):
    """And a cell's record says which it was trained in."""
    loads, load = [], work.load

    def counted(place, plugins, dtype):
        loads.append(dtype)
        return load(place, plugins, dtype)

    monkeypatch.setattr(work, "load", counted)
    made, place = plan(world, tmp_path, ["mezo", "zero_shot"], steps=1, eval_every=1)
    other = [replace(c, computation=replace(c.computation, dtype="bfloat16")) for c in made.todo]
    made.todo = [*made.todo, *other]
    records = carry_out(made, place)
    assert loads == ["float32", "bfloat16"]
    assert [r["status"] for r in records] == ["ok"] * 4
    wide, narrow = (r["memory"]["weights_bytes"] for r in records if r["cell"]["estimator"] == "mezo")
    assert wide == 2 * narrow


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ({"device": "cpu"}, "there is one device, cpu"),
        ({"model": "embedded"}, "model embedded is placed by its plugin"),
        ({"spread": {"jobs": 2}}, "of several --jobs each has one GPU"),
        ({"spread": {"jobs": 0}}, "of several --jobs each has one GPU"),
        ({"spread": {"jobs": 0}, "executor": "ray"}, None),
        ({"spread": {"jobs": 1}}, None),
        ({"device_map": "none", "spread": {"jobs": 2}}, None),
    ],
)
def test_a_model_is_spread_by_what_can_spread_it(monkeypatch, place, says):
    monkeypatch.setattr("zobench.devices.best", lambda: "cuda")
    wanted = Place(**{"model": "m", "device_map": "balanced", **place})
    with nullcontext() if says is None else pytest.raises(ZobenchError, match=says):
        check_map(wanted, PLUGINS)
