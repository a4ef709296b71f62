"""mezo_bcd and adalezo: blocks by turns, and by a bandit; each step against its equations in plain torch."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from kits.reading_kit import Blocks, batch, blake, difference, draw, loss_at, objective, plus, slope, went
from zobench_plugins.estimators.adalezo import AdaLeZO
from zobench_plugins.estimators.mezo import MeZO
from zobench_plugins.estimators.mezo_bcd import MeZOBCD, block_of

from zobench import Scope, ZobenchError

LR, EPS = 1e-2, 1e-3
NAMES = ("embed", "rest", "0", "1", "2")  # as named_parameters has them


def run(cls, steps=1, scope=None, seed=0, model=None, **settings):
    """The weights before each step and after the last, and the estimator."""
    model = model or Blocks()
    named = [(n, p) for n, p in model.named_parameters() if scope is None or scope(n)]
    opt = cls(Scope(named), **{"lr": LR, "engine": "pair", "seed": seed, **settings})
    path = [model.weights()]
    for k in range(steps):
        opt.step(objective(model, k))
        opt.settle()
        path.append(model.weights())
    return path, opt


def blocks_of(path):
    """The blocks that moved in each step."""
    return [{block_of(n) for n in went(a, b)} for a, b in zip(path, path[1:], strict=False)]


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("model.embed_tokens.weight", "embed"),
        ("model.layers.12.mlp.up_proj.weight", "12"),
        ("model.layers.3.mlp.experts.7.w1.weight", "3"),
        ("model.layers.0.self_attn.q_proj.lora_A.zobench.weight", "0"),
        ("transformer.h.11.ln_1.bias", "11"),
        ("ws.4", "4"),
        ("model.norm.weight", "rest"),
        ("lm_head.weight", "rest"),
        ("q8.weight", "rest"),
    ],
)
def test_blocks_by_names(name, block):
    assert block_of(name) == block


# ---- mezo_bcd


def bcd_in_plain_torch(order, blocks, steps):
    """MeZO's step on the tensors of the blocks whose turn it is."""
    theta, turns = Blocks().weights(), -(-len(NAMES) // blocks)
    for t in range(steps):
        turn, of_pass = t % turns, t // turns
        names = list(NAMES)
        if order != "cyclic":
            seed = blake(0, "choice", "blocks", of_pass if order == "shuffled" else t)
            names = [names[i] for i in torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))]
        first = 0 if order == "uniform" else turn * blocks
        now = names[first : first + blocks]
        z = {n: v for n, v in draw(theta, t).items() if block_of(n) in now}
        theta = plus(theta, -LR * slope(theta, z, batch(t), EPS), z)
    return theta


@pytest.mark.parametrize("order", ["shuffled", "cyclic", "uniform"])
@pytest.mark.parametrize("blocks", [1, 2])
def test_bcd_step(order, blocks):
    path, _ = run(MeZOBCD, 12, order=order, blocks=blocks)
    assert difference(path[-1], bcd_in_plain_torch(order, blocks, 12)) < 1e-12
    other = "cyclic" if order != "cyclic" else "shuffled"
    assert difference(path[-1], bcd_in_plain_torch(other, blocks, 12)) > 1e-6, "the order matters"


def test_bcd_takes_every_block_once_a_pass():
    path, _ = run(MeZOBCD, 15)
    turns = [block for (block,) in blocks_of(path)]
    passes = [turns[i : i + 5] for i in (0, 5, 10)]
    assert all(sorted(p) == sorted(NAMES) for p in passes)
    assert len({tuple(p) for p in passes}) > 1, "each pass has its own order"
    assert [b for (b,) in blocks_of(run(MeZOBCD, 6, order="cyclic")[0])] == [*NAMES, "embed"]


def test_bcd_looks_along_what_it_moves():
    """The mutant looks with all blocks and moves one: the slope is that of another direction."""

    class LooksEverywhere(MeZOBCD):
        def iterate(self, losses):
            chosen, z = self.chosen(), self.noise()
            c = losses.slope(z, self.eps)
            part = self.compute(lambda p: torch.ones(()).to(p.param), on=lambda p: block_of(p.name) in chosen)
            self.descend(c * (part * z))

    want = bcd_in_plain_torch("shuffled", 1, 5)
    assert difference(run(MeZOBCD, 5)[0][-1], want) < 1e-12 < 1e-6 < difference(run(LooksEverywhere, 5)[0][-1], want)


@pytest.mark.parametrize("engine", ["flat", "official", "deferred", "pair"])
@pytest.mark.parametrize("noise", ["per_tensor", "official"])
def test_bcd_with_all_blocks_is_mezo_bit_for_bit(engine, noise):
    options = {"engine": engine, "noise": noise}
    ours, theirs = run(MeZOBCD, 4, blocks=5, **options)[0], run(MeZO, 4, **options)[0]
    assert difference(ours[-1], theirs[-1]) == 0 < difference(ours[0], ours[-1])


@pytest.mark.parametrize("cls", [MeZOBCD, AdaLeZO])
def test_of_a_single_block_it_is_mezo_bit_for_bit(cls):
    def one(name):
        return name.startswith("layers.1.")

    ours, theirs = run(cls, 4, one)[0], run(MeZO, 4, one)[0]
    assert difference(ours[-1], theirs[-1]) == 0 < difference(ours[0], ours[-1])


def test_bcd_takes_the_adapters_of_a_block_together():
    def adapter(i, which):
        return f"model.layers.{i}.self_attn.q_proj.lora_{which}.zobench.weight", torch.nn.Parameter(torch.ones(3, 2))

    named = [adapter(i, which) for i in range(2) for which in "AB"]
    opt, moved = MeZOBCD(Scope(named), lr=1e-2, order="cyclic"), []
    for _ in range(2):
        before = {n: p.detach().clone() for n, p in named}
        opt.step(lambda: sum(p.detach().square().sum() for _, p in named))
        moved.append([n.split(".")[2] for n, p in named if not torch.equal(before[n], p)])
    assert moved == [["0", "0"], ["1", "1"]]


# ---- adalezo


def adalezo_in_plain_torch(steps, ratio=0.2, tau=0.2, alpha=0.1, gamma=0.01, clip=32.0, start=None):
    """The algorithm as the class's description has it: weights, Q, and the draws of each step."""
    theta, q = Blocks().weights(), dict.fromkeys(NAMES, 0.0) | (start or {})
    k, drawn = max(1, int(ratio * len(NAMES))), []
    for t in range(steps):
        top = max(q.values()) or 1.0
        e = {b: torch.exp(torch.tensor(v / top / tau, dtype=torch.float64)) for b, v in q.items()}
        p = {b: float((1 - gamma) * v / sum(e.values()) + gamma / len(q)) for b, v in e.items()}
        generator = torch.Generator().manual_seed(blake(0, "choice", "blocks", t))
        m = Counter(
            NAMES[int(i)]
            for i in torch.multinomial(
                torch.tensor(list(p.values()), dtype=torch.float64), k, replacement=True, generator=generator
            )
        )
        z = {n: v for n, v in draw(theta, t).items() if block_of(n) in m}
        c = slope(theta, z, batch(t), EPS)
        w = {b: n * min(1 / (k * p[b]), clip) for b, n in m.items()}
        theta = plus(theta, -LR * c, {n: w[block_of(n)] * v for n, v in z.items()})
        q |= {b: (1 - alpha) * q[b] + alpha * abs(c) for b in m}
        drawn.append(m)
    return theta, q, drawn


@pytest.mark.parametrize("settings", [{}, {"ratio": 0.6, "tau": 0.5, "alpha": 0.3}, {"ratio": 1.0, "clip": 0.9}])
def test_adalezo_step(settings):
    path, opt = run(AdaLeZO, 12, **settings)
    theta, q, drawn = adalezo_in_plain_torch(12, **settings)
    assert difference(path[-1], theta) < 1e-11
    assert {block_of(p.name): float(opt.q[p]) for p in opt.handles} == pytest.approx(q, abs=1e-10)
    if settings.get("ratio"):
        assert max(max(m.values()) for m in drawn) > 1, "some block is drawn twice: draws are with replacement"


@pytest.mark.parametrize(
    "wrong",
    [
        {"clip": 1.0},  # no inverse probabilities to speak of
        {"gamma": 1.0},  # no bandit
        {"alpha": 0.5},
    ],
)
def test_adalezo_without_one_of_its_parts_goes_elsewhere(wrong):
    path, _ = run(AdaLeZO, 12, ratio=0.6, **wrong)
    assert difference(path[-1], adalezo_in_plain_torch(12, ratio=0.6)[0]) > 1e-6


def test_adalezo_weights_are_unbiased_and_the_clip_is_not():
    """Over many draws at a lopsided Q the mean weight of every block is 1, and less where it is cut."""

    def means(clip):
        model = Blocks()
        opt = AdaLeZO(Scope(model.named_parameters()), lr=LR, ratio=0.4, gamma=0.2, clip=clip)
        for p in opt.handles:
            opt.q[p].fill_({"0": 1.0, "1": 0.6}.get(block_of(p.name), 0.1))
        sums = Counter()
        for t in range(1500):
            opt._keep(t=t)
            sums.update(opt.weights())
        return {b: sums[b] / 1500 for b in NAMES}

    assert means(1e9) == pytest.approx(dict.fromkeys(NAMES, 1.0), abs=0.35)
    assert min(means(1.0).values()) < 0.3


def test_adalezo_uniform_is_bcd_with_n_times_the_rate():
    """gamma 1, one draw: the drawn block makes MeZO's step at 5 lr."""
    path, _ = run(AdaLeZO, 6, gamma=1.0)
    for t, (chosen,) in enumerate(blocks_of(path)):
        z = {n: v for n, v in draw(path[t], t).items() if block_of(n) == chosen}
        want = plus(path[t], -5 * LR * slope(path[t], z, batch(t), EPS), z)
        assert difference(path[t + 1], want) < 1e-12


def test_adalezo_prefers_the_steep_block():
    model = Blocks()
    opt = AdaLeZO(Scope(model.named_parameters()), lr=0.0, seed=1)

    def lopsided():
        w = dict(model.named_parameters())
        return loss_at(w, batch(0)) + 50 * w["layers.2.w"].sum()

    chosen = Counter()
    for _ in range(200):
        chosen.update(opt.weights())  # the same draw that the step makes
        opt.step(lopsided)
    assert chosen.most_common(1)[0][0] == "2"


def test_adalezo_state_goes_on_where_it_was_saved():
    _, whole = run(AdaLeZO, 6)
    half, opt = run(AdaLeZO, 3)
    model = Blocks()
    with torch.no_grad():
        for n, p in model.named_parameters():
            p.copy_(half[-1][n])
    again = AdaLeZO(Scope(model.named_parameters()), lr=LR, engine="pair")
    again.load_state_dict(opt.state_dict())
    for k in range(3, 6):
        again.step(objective(model, k))
    assert [float(again.q[p]) for p in again.handles] == [float(whole.q[p]) for p in whole.handles]


@pytest.mark.parametrize(
    ("cls", "setting", "text"),
    [
        (MeZOBCD, {"blocks": 0}, "blocks=0: must be at least 1"),
        (MeZOBCD, {"order": "random"}, "order"),
        (AdaLeZO, {"ratio": 0}, "ratio=0: must be above 0 and at most 1"),
        (AdaLeZO, {"gamma": 0}, "gamma=0: must be above 0"),
        (AdaLeZO, {"tau": 0}, "tau=0: must be above 0"),
    ],
)
def test_wrong_settings_are_named(cls, setting, text):
    with pytest.raises(ZobenchError, match=text):
        cls(Scope(Blocks().named_parameters()), lr=LR, **setting)
