"""Edges of settings, each by a known answer: shares of few, ranks beyond what there is, ends of schedules."""

from types import SimpleNamespace

import pytest
import torch
from kits.toy_runs import Run, same
from torch import nn
from zobench_plugins.directions.guided import contrast
from zobench_plugins.estimators.adalezo import drawn_weights
from zobench_plugins.estimators.curvzo import CurvZO
from zobench_plugins.estimators.grzo import embedding
from zobench_plugins.estimators.hidden_probe import Probe, SplitStates
from zobench_plugins.estimators.p_gap import PGAP
from zobench_plugins.estimators.zo_act import leading_inputs
from zobench_plugins.learned import __main__ as learned
from zobench_plugins.learned import scales
from zobench_plugins.learned.text import text_objectives
from zobench_plugins.transforms.plant import Plant

from zobench import Question
from zobench.directions.handle import Handle
from zobench.models.massive import MassiveActivation, MassiveChannel


def handle(*shape, name="w"):
    return Handle(name, torch.zeros(shape), {})


@pytest.mark.parametrize(("ratio", "draws"), [(0.1, 1), (0.3, 1), (0.45, 1), (0.5, 2), (0.7, 2), (1.0, 4)])
def test_adalezo_draws_whole_blocks_of_its_share_and_no_more(ratio, draws):
    q = dict.fromkeys("abcd", torch.zeros(()))
    weights = drawn_weights(q, ratio, 0.2, 0.0, 1e9, torch.Generator().manual_seed(0))
    assert sum(weights.values()) == pytest.approx(4), "each of four is as likely, and weighs 4 / draws each time"
    assert all((w * draws / 4) % 1 == pytest.approx(0) for w in weights.values())
    assert max(weights.values()) >= 4 / draws


@pytest.mark.parametrize(("elite", "low"), [(0.0, 1), (0.25, 1), (0.5, 2), (0.8, 3), (1.0, 3)])
def test_some_candidate_is_low_and_some_is_high_whatever_the_share(elite, low):
    found = contrast([torch.tensor(x) for x in (4.0, 1.0, 3.0, 2.0)], elite)
    assert found[[1, 3, 2, 0]].tolist() == pytest.approx([1 / low] * low + [-1 / (4 - low)] * (4 - low))


def test_p_gap_has_nothing_along_the_estimate_after_its_decay():
    ended, never = (Run(PGAP, rank=2, interval=2, probes=1, **how) for how in ({"decay": 2}, {"delta": 0.0}))
    for run in (ended, never):
        run.opt._keep(t=2)
        run.go(3)
    assert same(ended.weights(), never.weights()) and not same(ended.weights(), ended.start)


def test_the_share_of_tensors_that_curvzo_draws_is_at_most_four_fifths():
    run = Run(CurvZO, share=1.0, every=1)
    run.go(1)
    assert float(run.opt.share_now[run.opt.keeper]) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("name", "shape", "is_one"),
    [
        ("model.embed_tokens.weight", (9, 4), True),
        ("transformer.wte.weight", (9, 4), True),
        ("transformer.wpe.weight", (9, 4), True),
        ("model.layers.0.mlp.up_proj.weight", (9, 4), False),
        ("embed_norm.weight", (9,), False),
    ],
)
def test_what_is_an_embedding_to_grzo(name, shape, is_one):
    assert embedding(handle(*shape, name=name)) == is_one


@pytest.mark.parametrize(("rank", "columns"), [(1, 1), (2, 2), (5, 5), (6, 6), (9, 6)])
def test_zo_acts_subspace_is_as_wide_as_asked_where_a_layer_has_as_many_inputs(rank, columns):
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    found = leading_inputs(rank, handle(4, 6), x)
    assert found.shape == (6, columns) and not found[:, 3:].any(), "three rows span three directions"
    assert torch.allclose((found.T @ found).diagonal(), (torch.arange(columns) < 3).float(), atol=1e-6)


def test_the_probe_keeps_the_first_of_equal_epochs():
    asked = [(Question((1,), ((1, 2), (1, 3))), i % 2) for i in range(4)]
    states = SplitStates(torch.randn(4, 1, 3, generator=torch.Generator().manual_seed(0)), asked)
    probe = Probe(states, 0, 2, 8)
    probe.learn(states, states, rate=1e-30, decay=1e-30, epochs=3)  # nothing changes
    assert probe.epoch == 0


@pytest.mark.parametrize(("steps", "every", "runs"), [(5, 2, [2, 2, 1]), (4, 4, [4]), (3, 10, [3])])
def test_the_learning_rate_of_a_restarted_model_falls_to_nothing_within_a_run(monkeypatch, steps, every, runs):
    seen = []
    monkeypatch.setattr(scales, "_run", lambda learner, objectives, steps, fall: seen.append((steps, fall)))
    model = nn.Linear(2, 2)
    loaded = SimpleNamespace(model=model, name="m", revision=None, dtype="float32")
    scales.learn_scales(loaded, iter(()), steps=steps, restart_every=every, lr=0.8)
    assert seen == [(n, pytest.approx(0.8 / every)) for n in runs]


def test_a_channel_is_planted_where_the_first_token_is_massive_to_either_side():
    channels = {3: MassiveChannel(2.0, -400.0), 4: MassiveChannel(2.0, 1.5), 5: MassiveChannel(2.0, 90.0)}
    made = Plant.of_massive(MassiveActivation(1, {1: channels}, 100.0), None, block=1)
    assert [(one.channel, one.value) for one in made] == [(3, -400.0), (5, 90.0)]


def test_a_window_may_be_the_whole_text():
    model = SimpleNamespace(
        name="m",
        context_length=8,
        device="cpu",
        model=None,
        tokenizer=lambda text, **_: {"input_ids": [*map(int, text)]},
    )
    batch = next(text_objectives(model, "31415926", batch_size=2, length=8)).batch
    assert batch.tolist() == [[3, 1, 4, 1, 5, 9, 2, 6]] * 2
    batch = next(text_objectives(model, "314", batch_size=64, length=2)).batch
    assert {tuple(row) for row in batch.tolist()} == {(3, 1), (1, 4)}


def test_every_option_of_the_command_that_makes_scales_arrives(monkeypatch, tmp_path, capsys):
    asked, facts = {}, {"scales": {"w": 1.0}}
    monkeypatch.setattr(
        learned, "_opened", lambda model, text, device: asked.update(opened=(model, device)) or ("loaded", "text")
    )
    monkeypatch.setattr(learned, "text_objectives", lambda *of, **how: asked.update(windows=(of, how)) or "objectives")
    monkeypatch.setattr(
        learned, "learn_scales", lambda *of, **how: asked.update(learnt=(of, how)) or ({"w": {}}, facts)
    )
    monkeypatch.setattr(learned, "write_networks", lambda out, found, facts: asked.update(facts=facts) or "digest")
    numbers = {"steps": 7, "restart_every": 3, "lr": 0.5, "rate": 0.25, "reach": 2e-5, "seed": 4}
    learned.scales("m", tmp_path / "t.txt", tmp_path / "o", **numbers, batch_size=6, length=5, device="cuda:1")
    assert asked["opened"] == ("m", "cuda:1")
    assert asked["windows"] == (("loaded", "text"), {"batch_size": 6, "length": 5, "seed": 4})
    assert asked["learnt"] == (("loaded", "objectives"), numbers)
    assert asked["facts"] == {**facts, "text": "t.txt", "length": 5} and "sha256 digest" in capsys.readouterr().out
