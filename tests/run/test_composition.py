"""Methods that ask for more than losses at points, with adapters, single blocks, rows and losses of all kinds.

By default each method runs with one parameterisation, by turns, those that look into tensors or modules with all;
the slow test runs every method with every one.
"""

from __future__ import annotations

import pytest
import torch
from kits.matrix import covering, named
from kits.run_kit import plan, run

from zobench.errors import ZobenchError
from zobench.models.load import load_model
from zobench.plugins.registry import load_plugins
from zobench.run.replay import rebuild

FOUND = load_plugins()
NEEDY = ("sensitive_sparse", "zo_fine_tuner")  # these train with files that were learnt before
METHODS = [n for n in FOUND.names("estimators") if FOUND.estimator(n).trains and n not in NEEDY]
MOVERS = ("forward_grad", "mezo_normalized", "n_spsa", "sgd", "zo_adamm", "zo_sgd_conservative", "zo_sgd_sign")
NARROW = ("lora", "prefix", "prompt")
UNPLANNED = {
    "subzero": NARROW, "subzero_plus": NARROW, "dizo": ("prefix", "prompt", "scales"),
    "zo_act": ("prefix", "prompt", "scales"),
}  # fmt: skip
"""What a method refuses before anything runs."""
PARAMETERISATIONS = ("full", "lora", "prefix", "prompt", "scales")
LOOK_INSIDE = ("agzo", "dizo", "forward_grad", "grzo", "qzo", "sgd", "subzero")
"""Methods with activations, names of tensors, derivatives of both modes, single examples, and shapes of tensors."""
SAYS = {
    "subzero": "subzero: .*use parameterisation full",
    "subzero_plus": "subzero_plus: .*use parameterisation full",
    "zo_act": "zo_act moves linear layers along what enters them, and parameterisation \\w+ trains none",
    "dizo": "dizo: no tensor of the model has q_proj.weight or v_proj.weight or lora_ in its name",
}


def runs_with(name: str, parameterisation: str) -> bool:
    by_turns = METHODS.index(name) % len(PARAMETERISATIONS) == PARAMETERISATIONS.index(parameterisation)
    return by_turns or (name in LOOK_INSIDE and parameterisation != "full")  # full: each passes its battery


@pytest.mark.parametrize("parameterisation", PARAMETERISATIONS)
def test_every_parameterisation(world, tmp_path, parameterisation):
    assert_trains(world, tmp_path, parameterisation, [n for n in METHODS if runs_with(n, parameterisation)])


@pytest.mark.slow
@pytest.mark.parametrize("parameterisation", PARAMETERISATIONS)
def test_every_method_in_every_parameterisation(world, tmp_path, parameterisation):
    assert_trains(world, tmp_path, parameterisation, METHODS)


def assert_trains(world, tmp_path, parameterisation, methods):
    able = [name for name in methods if parameterisation not in UNPLANNED.get(name, ())]
    told = {"num_dev": 4, "num_test": 2, "steps": 3, "eval_every": 1, "lrs": (1e-3,)}
    told["parameterisation"] = parameterisation
    where = ["all" if parameterisation == "prompt" else "layer:1"]  # a prompt stands at the embeddings
    for name in set(methods) - set(able):
        with pytest.raises(ZobenchError, match=SAYS[name]):
            plan(world, tmp_path, [name], where, ["sst2"], **told)
    records = run(world, tmp_path, able, where, ["sst2"], **told)
    for record in records:
        name = record["cell"]["estimator"]
        assert record["status"] == "ok", (name, record["error"])
        assert record["engine"]["parameterisation"] == parameterisation
        assert len({loss for _, loss in record["trials"][0]["curve"]}) > 1 or name not in MOVERS, name


@pytest.mark.parametrize(("task", "rows"), covering(["copa", "squad", "sst2"], ["shared", "replicated"]))
def test_forward_mode_passes_through_all_losses(world, tmp_path, task, rows):
    """MeZO draws the same directions, and so goes the same way but for the error of its difference."""
    told = {"rows": rows, "layer__index": 1, "eval_every": 1, "lrs": (1e-2,), "mezo__eps": 1e-2}
    exact, near = run(world, tmp_path, ["forward_grad", "mezo"], ["layer"], [task], **told)
    assert exact["status"] == near["status"] == "ok"
    changes = [r["trials"][0]["curve"][3][1] - r["trials"][0]["curve"][0][1] for r in (exact, near)]
    assert changes[0] == pytest.approx(changes[1], rel=0.1) and abs(changes[0]) > 1e-3


def test_derivatives_refuse_a_loss_that_has_none(world, tmp_path):
    told = {"train_loss": "non_diff", "layer__index": 1}
    for name in ("forward_grad", "sgd", "adamw"):
        with pytest.raises(ZobenchError, match="takes derivatives of the loss, and train_loss=non_diff has none"):
            plan(world, tmp_path / "r", [name], ["layer"], ["squad"], **told)


@pytest.mark.parametrize(
    ("estimator", "task", "rows"), covering(["prefix_zo", "qzo"], ["copa", "squad", "sst2"], ["auto", "replicated"])
)
def test_prefixes_and_scales_in_rows_of_all_kinds(world, tmp_path, estimator, task, rows):
    """Batched, cut at the scope's block and side by side they give what the official order gives, but for rounding."""
    told = {
        "layer__index": 1,
        "eval_every": 1,
        "noise": "per_tensor",
        "lrs": (1.0,) if estimator == "prefix_zo" else (1e-4,),
    }
    (fast,) = run(world, tmp_path / "a", [estimator], ["layer"], [task], rows=rows, **told)
    (slow,) = run(world, tmp_path / "b", [estimator], ["layer"], [task], engine="official", **told)
    assert fast["status"] == slow["status"] == "ok", (fast["error"], slow["error"])
    assert fast["engine"]["parameterisation"] == {"prefix_zo": "prefix", "qzo": "scales"}[estimator]
    assert (fast["engine"]["prefix"] is not None) == (rows == "auto")
    ours, theirs = ([loss for _, loss in r["trials"][0]["curve"]] for r in (fast, slow))
    assert ours == pytest.approx(theirs, rel=2e-4) and len(set(ours)) > 1


@pytest.mark.parametrize(("task", "rows"), covering(["copa", "squad"], ["auto", "replicated"]))
def test_prompts_in_rows_of_all_kinds(world, tmp_path, task, rows):
    """Packed, generating and side by side they give what the official order gives, but for rounding."""
    told = {"eval_every": 1, "noise": "per_tensor", "lrs": (0.1,), "num_virtual_tokens": 3}
    (fast,) = run(world, tmp_path / "a", ["prompt_zo"], ["all"], [task], rows=rows, **told)
    (slow,) = run(world, tmp_path / "b", ["prompt_zo"], ["all"], [task], engine="official", **told)
    assert fast["status"] == slow["status"] == "ok", (fast["error"], slow["error"])
    assert fast["engine"]["parameterisation"] == "prompt" and fast["engine"]["prefix"] is None
    assert fast["scope"]["tensors"] == 1 and fast["scope"]["parameters"] % 3 == 0
    ours, theirs = ([loss for _, loss in r["trials"][0]["curve"]] for r in (fast, slow))
    assert ours == pytest.approx(theirs, rel=2e-4) and len(set(ours)) > 1
    assert fast["metrics"]["test"]["items"] == slow["metrics"]["test"]["items"]


@pytest.mark.parametrize("engine", named(["flat", "official"], ["flat"]))
def test_a_prompt_of_a_model_in_16_bit_trains_in_float32(world, tmp_path, engine):
    told = {"dtype": "bfloat16", "engine": engine, "eval_every": 1, "lrs": (0.1,), "num_virtual_tokens": 3}
    (record,) = run(world, tmp_path, ["prompt_zo"], ["all"], ["sst2"], **told)
    assert record["status"] == "ok" and len({loss for _, loss in record["trials"][0]["curve"]}) > 1, record["error"]
    loaded = load_model(str(world.model), dtype="bfloat16", device="cpu", offline=True)
    (prompt,) = rebuild(record, tmp_path, loaded, FOUND).values()  # bit for bit, from its log
    assert prompt.dtype == torch.float32 and not torch.equal(prompt, prompt.bfloat16().float())


def test_a_prompt_is_refused_on_a_block(world, tmp_path):
    with pytest.raises(ZobenchError, match="place of the input embeddings, which are not in"):
        run(world, tmp_path, ["prompt_zo"], ["layer:1"])


@pytest.mark.parametrize("task", named(["copa", "squad", "sst2"], ["squad"]))
def test_what_is_linear_in_outputs_in_rows_of_all_kinds(world, tmp_path, task):
    told = {"layer__index": 1, "eval_every": 1, "noise": "per_tensor", "lrs": (1e-2,)}
    (fast,) = run(world, tmp_path / "a", ["pseuzo"], ["layer"], [task], **told)
    (slow,) = run(world, tmp_path / "b", ["pseuzo"], ["layer"], [task], engine="official", **told)
    (near,) = run(world, tmp_path / "c", ["forward_grad"], ["layer"], [task], **told)
    assert fast["status"] == slow["status"] == "ok", (fast["error"], slow["error"])
    ours, theirs, exact = ([loss for _, loss in r["trials"][0]["curve"]] for r in (fast, slow, near))
    assert ours == pytest.approx(theirs, rel=2e-4) and len(set(ours)) > 1
    assert ours[1] - ours[0] == pytest.approx(exact[1] - exact[0], rel=0.1)
