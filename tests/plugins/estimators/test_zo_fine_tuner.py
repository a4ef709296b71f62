"""ZO Fine-tuner: the step, and the learning of its networks, against their equations in plain torch."""

from __future__ import annotations

from inspect import signature
from types import SimpleNamespace

import pytest
import torch
from kits.reading_kit import Blocks, batch, difference, draw, loss_at, objective, plus, slope
from zobench_plugins.estimators.mezo import MeZO
from zobench_plugins.estimators.zo_fine_tuner import ZOFineTuner
from zobench_plugins.learned import networks
from zobench_plugins.learned.scales import ScaleLearner, learn_scales

from zobench import Scope, ZobenchError

LR, EPS, STEPS = 1e-2, 1e-3, 6


def untrained(names, seed=0):
    return {n: networks.moved(networks.fresh(n, seed), torch.zeros(()), torch.float64) for n in names}


def output(net, w, seen, before):
    """|W2 tanh(W1 x + b1) + b2| by torch's own layers."""
    first, second = torch.nn.Linear(5, 64, dtype=torch.float64), torch.nn.Linear(64, 1, dtype=torch.float64)
    state = {"0.weight": net["w1"], "0.bias": net["b1"], "2.weight": net["w2"][None], "2.bias": net["b2"][None]}
    perceptron = torch.nn.Sequential(first, torch.nn.Tanh(), second)
    x = torch.stack([w.mean(), w.var(), *seen, before])
    return torch.func.functional_call(perceptron, state, x).abs()[0]


def zeros(*shape):
    return torch.zeros(shape, dtype=torch.float64)


def scaled(theta, nets, seen, before, z, rows=0):
    """The scales, kappa and the direction d."""
    s = {n: output(nets[n], w, seen, before[n]) for n, w in theta.items() if n in z}
    n = {k: rows * theta[k].shape[1] if rows and "embed" in k else theta[k].numel() for k in s}
    kappa = (sum(n.values()) / sum(n[k] * s[k] ** 2 for k in s)) ** 0.5
    return s, kappa, {k: kappa * s[k] * z[k] for k in s}


@torch.no_grad()
def fine_tuner(nets, steps=STEPS, rows=0, remember=True, normed=True):
    theta = Blocks().weights()
    seen, before = zeros(2), {n: torch.ones((), dtype=torch.float64) for n in theta}
    for t in range(steps):
        s, kappa, d = scaled(theta, nets, seen, before, draw(theta, t), rows)
        if not normed:
            d = {n: x / kappa for n, x in d.items()}
        lp, lm = (loss_at(plus(theta, sign * EPS, d), batch(t)) for sign in (1, -1))
        theta = plus(theta, -LR * float(lp - lm) / (2 * EPS), d)
        if remember:
            seen, before = torch.stack((lp, lm)), s
    return theta


def run(cls=ZOFineTuner, engine="pair", steps=STEPS, scope=Scope, **settings):
    model = Blocks()
    opt = cls(scope(model.named_parameters()), lr=LR, engine=engine, **settings)
    for k in range(steps):
        opt.step(objective(model, k))
    opt.settle()
    return model.weights(), opt


# ---- the step


@pytest.mark.parametrize("engine", ["flat", "pair", "deferred", "official"])
def test_step(engine):
    nets = untrained(Blocks().weights(), seed=3)
    found, opt = run(engine=engine, scales="untrained", seed_of_networks=3)
    assert difference(found, fine_tuner(nets)) < 1e-9
    assert opt.forwards == {"train": 2 * STEPS}
    assert opt.state_bytes() == 8 * (len(found) + 2), "a scale a tensor and two losses"


def test_what_is_another_method_is_told_apart():
    found, nets = run(scales="untrained")[0], untrained(Blocks().weights())
    assert difference(found, fine_tuner(nets)) < 1e-9
    for other in ({"remember": False}, {"normed": False}, {"rows": 2}, {"nets": untrained(found, seed=1)}):
        assert difference(found, fine_tuner(**{"nets": nets, **other})) > 1e-6


def test_an_embedding_counts_as_the_released_code_counts_it():
    found, nets = run(scales="untrained", embedding_rows=2)[0], untrained(Blocks().weights())
    assert difference(found, fine_tuner(nets, rows=2)) < 1e-9


def test_the_direction_is_as_long_as_mezos():
    model = Blocks()
    opt = ZOFineTuner(Scope(model.named_parameters()), lr=LR, scales="untrained")
    opt.step(objective(model, 0))
    s = opt.compute(opt.scale)
    n = {p.name: p.shape.numel() for p in opt.active}
    long = float(opt.kappa(s) ** 2) * sum(n[p.name] * float(s[p]) ** 2 for p in opt.active)
    assert long == pytest.approx(sum(n.values()))
    assert len({round(float(s[p]), 6) for p in opt.active}) == len(opt.active)


def test_masked_entries_do_not_count():
    model = Blocks()
    masks = {"head": torch.tensor([True, False, False, False])}
    opt = ZOFineTuner(Scope(model.named_parameters(), masks=masks), lr=LR, scales="untrained")
    assert {p.name: float(opt.entries(p)) for p in opt.active}["head"] == 1


@pytest.mark.parametrize("engine", ["flat", "pair", "deferred", "official"])
def test_with_ones_it_is_mezo_bit_for_bit(engine):
    assert difference(run(engine=engine, scales="ones")[0], run(MeZO, engine=engine)[0]) == 0


def test_a_single_entry_has_no_variance():
    x = networks.features(zeros(1) + 3, zeros(2), zeros())
    assert x.tolist() == [3, 0, 0, 0, 0]


# ---- the file


def made(names, path, facts=None):
    return networks.write_networks(path, {n: networks.fresh(n, 7) for n in names}, {"model": "blocks", **(facts or {})})


def test_networks_of_a_file_are_used(tmp_path):
    path = tmp_path / "s.safetensors"
    digest = made(Blocks().weights(), path)
    a, b = run(scales=str(path), sha256=digest)[0], run(scales="untrained", seed_of_networks=7)[0]
    assert difference(a, b) == 0


def test_what_does_not_go_together_is_refused(tmp_path):
    def refused(text, **settings):
        with pytest.raises(ZobenchError, match=text):
            run(steps=0, **settings)

    path = tmp_path / "s.safetensors"
    made([n for n in Blocks().weights() if n != "head"], path)
    refused("set zo_fine_tuner.scales to a file of networks; make one with python -m zobench_plugins.learned scales")
    refused("s.safetensors has networks of blocks, and none for head", scales=str(path))
    refused("it is another file", scales=str(path), sha256="f" * 20)
    refused("no such file", scales=str(tmp_path / "none"))
    refused("seed_of_networks=-1: must be at least 0", scales="untrained", seed_of_networks=-1)

    def layer(named):
        return Scope([(n, p) for n, p in named if "layers.1" in n])

    assert run(steps=1, scales=str(path), scope=layer)[1].t == 1, "of a scope, its tensors are enough"


# ---- learning


def test_a_step_of_learning():
    """Networks: by autograd through the unrolled step as a whole. The model: by torch's SGD, its gradient clipped."""
    rate, reach, clip, steps = 0.5, 3e-2, 0.05, 3
    model = Blocks()
    learner = ScaleLearner(
        Scope(model.named_parameters()), lr=LR, engine="pair", rate=rate, reach=reach, clip=clip, seed_of_networks=5
    )
    reference = Blocks()
    sgd = torch.optim.SGD(reference.parameters(), lr=LR, momentum=0.8)
    nets = untrained(reference.weights(), seed=5)
    seen, before = zeros(2), {n: torch.ones((), dtype=torch.float64) for n in nets}
    for t in range(steps):
        theta, z = reference.weights(), draw(reference.weights(), t)
        leaves = {n: {k: x.detach().clone().requires_grad_() for k, x in net.items()} for n, net in nets.items()}
        s, kappa, d = scaled(theta, leaves, seen, before, z)
        kappa = kappa.detach()  # as in the released code
        c = slope(theta, {n: x.detach() for n, x in d.items()}, batch(t), EPS)
        unrolled = {n: w - reach * c * kappa * s[n] * z[n] for n, w in theta.items()}
        loss_at(unrolled, batch(t)).backward()
        nets = {n: {k: x.detach() - rate * x.grad for k, x in net.items()} for n, net in leaves.items()}
        lp, lm = (loss_at(plus(theta, sign * EPS, d), batch(t)).detach() for sign in (1, -1))
        seen, before = torch.stack((lp, lm)), {n: x.detach() for n, x in s.items()}
        sgd.zero_grad()
        objective(reference, t).loss(reference, batch(t)).backward()
        torch.nn.utils.clip_grad_norm_(reference.parameters(), clip)
        sgd.step()
        learner.step(objective(model, t))
    learner.settle()
    assert difference(model.weights(), reference.weights()) < 1e-7
    for n, net in nets.items():
        assert all(torch.allclose(learner.networks[n][k], x, atol=1e-9) for k, x in net.items())
        start = untrained([n], seed=5)[n]
        assert not torch.allclose(learner.networks[n]["w1"], start["w1"], atol=1e-6)
    assert learner.forwards == {"train": 4 * steps, "backward": 2 * steps}


def blocks(model, dtype="float32"):
    return SimpleNamespace(model=model.float(), name="blocks", revision=None, dtype=dtype)


def batches(model):
    k = 0
    while True:
        made = objective(model, k)
        made.batch = tuple(x.float() for x in made.batch)
        yield made
        k += 1


def test_learning_leaves_the_model_as_it_was_and_lowers_what_the_step_reaches():
    model = Blocks()
    start = {n: w.float() for n, w in model.weights().items()}
    settings = {"rate": 1.0, "reach": 3e-2}
    found, facts = learn_scales(blocks(model), batches(model), steps=60, restart_every=20, seed=2, **settings)
    assert all(torch.equal(w, start[n]) for n, w in model.weights().items())
    assert found.keys() == start.keys() == facts["scales"].keys() and facts["settings"] == settings

    def reached(nets):
        """The mean loss after one step of the method, over batches and seeds."""
        total = 0.0
        for seed in range(40):
            theta = {n: w.double() for n, w in start.items()}
            s, kappa, d = scaled(theta, nets, zeros(2), dict.fromkeys(theta, zeros() + 1), draw(theta, 0, seed=seed))
            c = slope(theta, d, batch(900 + seed), EPS)
            total += float(loss_at(plus(theta, -3e-2 * c, d), batch(900 + seed)))
        return total / 40

    wide = {n: networks.moved(net, zeros(), torch.float64) for n, net in found.items()}
    assert reached(wide) < reached(untrained(start, seed=2))


def test_the_same_seed_learns_the_same():
    a, b, c = (
        learn_scales(blocks(m), batches(m), steps=4, restart_every=2, seed=s)[0]
        for m, s in zip((Blocks(), Blocks(), Blocks()), (1, 1, 2), strict=True)
    )
    assert all(torch.equal(a[n][k], b[n][k]) for n in a for k in a[n])
    assert not torch.equal(a["head"]["w1"], c["head"]["w1"])


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"steps": 0}, "steps=0, restart_every=100: both must be at least 1"),
        ({"dtype": "bfloat16"}, "blocks is in bfloat16; load it in float32"),
        ({"count": 2, "steps": 3}, "fewer batches than steps"),
        ({"steps": 1, "reach": 0.0}, "reach=0.0: must be above 0"),
        ({"steps": 1, "rate": 1e300}, "the networks did not stay finite; lower rate or reach"),
        ({"steps": 2, "rate": 1e300}, "step 1 of a run saw a loss of nan; lower lr, rate or reach"),
    ],
)
def test_what_cannot_be_learnt_is_named(given, text):
    given = dict(given)
    model = Blocks()
    of, count = blocks(model, given.pop("dtype", "float32")), given.pop("count", 100)
    start = {n: w.clone() for n, w in model.weights().items()}
    with pytest.raises(ZobenchError, match=text):
        learn_scales(of, (o for _, o in zip(range(count), batches(model), strict=False)), **given)
    assert all(torch.equal(w, start[n]) for n, w in model.weights().items())


def test_the_command_makes_networks_of_text(monkeypatch, tmp_path, capsys):
    from test_sensitive_sparse import Letters, command, tokenizer
    from zobench_plugins.learned import __main__ as learned

    model = SimpleNamespace(
        model=Letters(), name="letters", revision=None, tokenizer=tokenizer, context_length=64, dtype="float32"
    )
    model.device = torch.device("cpu")
    monkeypatch.setattr(learned, "load_model", lambda name, dtype, device: model)
    text, out = tmp_path / "t.txt", tmp_path / "s.safetensors"
    text.write_text("0123" * 50)
    options = ["--text", text, "--out", out, "--steps", 4, "--restart-every", 2, "--length", 16]
    assert command(monkeypatch, "scales", "--model", "letters", *options) == 0
    found = networks.networks_for(
        "zo_fine_tuner", str(out), capsys.readouterr().out.split("sha256 ")[1].strip(), ["table"]
    )
    assert not torch.equal(found["table"]["b2"], networks.fresh("table", 0)["b2"])


def test_the_commands_defaults_are_those_of_the_functions():
    from zobench_plugins.learned import __main__ as learned
    from zobench_plugins.learned.masks import learn_masks
    from zobench_plugins.learned.scales import ScaleLearner, learn_scales

    def defaults(of):
        return {n: p.default for n, p in signature(of).parameters.items() if p.default is not p.empty}

    masks, scales = defaults(learned.masks), defaults(learned.scales)
    assert defaults(learn_masks) == {"density": 1e-3, "per": "model", "only": ()}
    assert (masks.pop("density"), masks.pop("per"), masks.pop("only")) == (1e-3, "model", None)
    common = {"batch_size": 8, "length": 128, "seed": 0, "device": "auto"}
    assert masks == {"batches": 32, **common}
    assert scales == {**defaults(learn_scales), "rate": ScaleLearner.rate, "reach": ScaleLearner.reach, **common}
