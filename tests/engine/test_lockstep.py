"""Points side by side in one forward: each has its own weights, whatever the model; what cannot be tiled is refused."""

import pytest
import torch
from kits.toy_runs import Net, Run, apart, cross_entropy
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from zobench import Estimator, Objective, Scope, ZobenchError
from zobench.models.lockstep import _joined, _Shape, lockstep

SMALL = dict(
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=64,
    max_position_embeddings=64,
)
MODELS = {
    "llama": SMALL,
    "llama tied": {**SMALL, "tie_word_embeddings": True},
    "qwen3": {**SMALL, "head_dim": 8},
    "gpt2": dict(n_embd=16, n_layer=2, n_head=2, vocab_size=64, n_positions=64, bos_token_id=1, eos_token_id=2),
    "opt": dict(
        hidden_size=16, ffn_dim=24, num_hidden_layers=2, num_attention_heads=2, vocab_size=64, word_embed_proj_dim=16,
        max_position_embeddings=64, pad_token_id=0, bos_token_id=1,
    ),
}  # fmt: skip
IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12], [0, 13, 14, 15]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1]])


def model_of(kind):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind.split()[0], **MODELS[kind]))
    return model.double().eval().requires_grad_(False)


def loss(forward, places):
    logits = forward(input_ids=IDS, attention_mask=MASK, position_ids=places, use_cache=False).logits[:, :-1]
    return nn.functional.cross_entropy(logits.flatten(0, 1), IDS[:, 1:].flatten())


def points_of(model, count):
    g = torch.Generator().manual_seed(1)
    return [
        {n: p + 0.05 * torch.randn(p.shape, generator=g, dtype=p.dtype) for n, p in model.named_parameters()}
        for _ in range(count)
    ]


@pytest.mark.parametrize("kind", MODELS)
def test_losses_are_those_of_one_point_after_the_other(kind):
    model, places = model_of(kind), torch.arange(4).repeat(3, 1)
    points, calls = points_of(model, 3), []
    want = Objective(model, loss, places, batched=False).many(points)
    model.register_forward_pre_hook(lambda m, a, kw: calls.append(kw["input_ids"].shape[0]), with_kwargs=True)
    got = Objective(model, loss, places).many(points)
    assert torch.stack(got).tolist() == pytest.approx(torch.stack(want).tolist(), abs=1e-6)
    assert calls == [9] and len({float(x) for x in got}) == 3
    assert not any("forward" in vars(m) for m in model.modules())


class Chooses(nn.Module):
    """Half of the entries of a batch go through an expert, as in a mixture of experts."""

    def __init__(self):
        super().__init__()
        self.expert = nn.Linear(6, 6)

    def forward(self, x):
        out = x.clone()
        chosen = x[:, 0] > x[:, 0].median()
        out[chosen] = self.expert(x[chosen])
        return out


class Outer(Net):
    """A parameter of its own around modules that have some."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))


def test_models_that_do_not_keep_the_order_of_the_batch_are_refused():
    x = torch.randn(7, 6, generator=torch.Generator().manual_seed(0))
    for model, message in (
        (Chooses(), "Linear of expert.weight has not the batch first: use another engine"),
        (Outer(), "layers.0 lies inside a module that has weights of the scope too"),
    ):
        points = [{n: p.detach().clone() for n, p in model.named_parameters()} for _ in range(2)]
        before = {n: p.data_ptr() for n, p in model.named_parameters()}
        with pytest.raises(ZobenchError, match=message):
            Objective(model, lambda forward, b: forward(b).square().mean(), x).many(points)
        assert {n: p.data_ptr() for n, p in model.named_parameters()} == before
        assert not any("forward" in vars(m) for m in model.modules())
        assert Objective(model, lambda forward, b: forward(b).square().mean(), x, batched=False).many(points)


class Reads(nn.Module):
    """A module that computes with the weights of its submodules, and runs none of them."""

    def __init__(self, *, says_so: bool):
        super().__init__()
        self.a, self.b = nn.Linear(6, 2, bias=False), nn.Linear(2, 6, bias=False)
        self.reads_within = says_so

    def forward(self, x):
        return x + x @ (self.b.weight @ self.a.weight).T


def test_weights_that_another_module_reads_are_refused_or_displaced():
    x = torch.randn(7, 6, generator=torch.Generator().manual_seed(0))

    def of(says_so):
        torch.manual_seed(0)
        model = nn.Sequential(Reads(says_so=says_so))
        return model, points_of(model.double(), 2), lambda forward, b: forward(b).square().mean()

    model, points, mean = of(False)
    with pytest.raises(ZobenchError, match=r"the module that owns 0\.a\.weight did not run, and others may read it"):
        Objective(model, mean, x.double()).many(points)
    model, points, mean = of(True)
    got = torch.stack(Objective(model, mean, x.double()).many(points))
    want = torch.stack(Objective(model, mean, x.double(), batched=False).many(points))
    assert torch.allclose(got, want, rtol=1e-6) and float((got[0] - got[1]).abs()) > 1e-3


def test_a_loss_of_several_forwards_is_refused():
    run = Run()
    twice = Objective(run.model, lambda forward, b: cross_entropy(forward, b) + cross_entropy(forward, b), run.batch(0))
    with pytest.raises(ZobenchError, match="calls the model more than once"):
        twice.tiled(2)


def test_an_own_forward_of_a_module_is_kept():
    model = Net().eval()
    first = model.layers[0]
    theirs = first.forward
    first.forward = theirs
    with pytest.raises(KeyError), lockstep(model, dict(model.named_parameters()), 2, lambda name: []):
        raise KeyError
    assert vars(first)["forward"] is theirs


def test_outputs_are_joined_where_they_have_the_batch_first():
    one, two, module = torch.ones(1, 2), torch.zeros(2, 2), nn.Identity()
    assert torch.equal(_joined([one, two], module), torch.cat([one, two]))
    assert [x.tolist() for x in _joined([(one,), (one,)], module)] == [[[1, 1], [1, 1]]]
    for odd in (torch.tensor(1.0), {"x": one}, (one, None)):
        with pytest.raises(ZobenchError, match="Identity puts out something else than tensors with the batch first"):
            _joined([odd, odd], module)


# ---- the engine


def test_streamed_makes_the_last_move_inside_the_next_forward():
    run = Run(engine="streamed", batched=True)
    run.go(1)
    assert apart({n: p.detach() for n, p in run.model.named_parameters()}, run.start) == 0, "owed"
    flat = Run(engine="flat")
    flat.go(1)
    assert apart(run.weights(), flat.weights()) < 1e-14, "paid"
    run.go(3)
    flat.go(3)
    assert apart(run.weights(), flat.weights()) < 1e-13


def test_a_fault_inside_its_forward_leaves_theta():
    """The move that was owed is made all the same: partly before the fault, partly after it."""
    run, flat = Run(engine="streamed", batched=True), Run(engine="flat")
    for r in (run, flat):
        r.go(2)
    last = run.model.layers[-1]
    hook = last.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run.go(1)
    hook.remove()
    assert apart({n: p.detach() for n, p in run.model.named_parameters()}, flat.weights()) < 1e-14
    assert run.go(1) == pytest.approx(flat.go(1), abs=1e-12)


def test_weights_that_no_module_runs_on_move_too():
    class Extra(Estimator):
        def iterate(self, losses):
            z = self.noise()
            losses(1e-3 * z)
            self.move(0.1 * z)

    ends = []
    for engine in ("streamed", "flat"):
        torch.manual_seed(0)
        model, unused = Net().double().eval(), nn.Parameter(torch.zeros(3, dtype=torch.float64))
        scope = Scope([*model.named_parameters(), ("unused", unused)])
        opt = Extra(scope, lr=1.0, engine=engine)
        batch = Run().batch(0)
        for _ in range(3):
            opt.step(Objective(model, cross_entropy, batch))
        opt.settle()
        ends.append({"unused": unused.detach(), **{n: p.detach() for n, p in model.named_parameters()}})
    assert apart(*ends) < 1e-14 and ends[0]["unused"].abs().max() > 0


def test_a_plain_closure_is_looked_at_as_on_pair():
    runs = [Run(engine=engine, plain=True) for engine in ("streamed", "pair")]
    assert runs[0].go(4) == pytest.approx(runs[1].go(4), abs=1e-13)
    assert apart(*(run.weights() for run in runs)) < 1e-13


class Table(nn.Module):
    """A module of the scope that is given a table beside the batch: two rows of it, whatever the points."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(6))

    def forward(self, x, table):
        return x @ self.weight + table.sum(0)


class WithTable(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Table()
        self.register_buffer("table", torch.tensor([[1.0] * 6, [10.0] * 6]))

    def forward(self, x):
        return self.inner(x, self.table)


def test_what_has_as_many_entries_as_there_are_points_by_chance_is_not_cut():
    model, x = WithTable(), torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    points = [{"inner.weight": torch.eye(6) * k} for k in (1.0, 2.0)]

    def mean(forward, batch):
        return forward(batch).mean()

    want = Objective(model, mean, x, batched=False).many(points)
    assert torch.stack(Objective(model, mean, x).many(points)).tolist() == pytest.approx(torch.stack(want).tolist())


class Gathers(nn.Module):
    """A head that is given two places of each copy of a batch of three rows."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.body(x).view(-1, 3, 6)[:, [0, 2]])


def test_what_is_gathered_of_each_point_is_cut_by_points():
    g = torch.Generator().manual_seed(0)
    model, x = Gathers(), torch.randn(3, 6, generator=g)
    points = [{n: torch.randn(p.shape, generator=g) for n, p in model.named_parameters()} for _ in range(2)]

    def loss(forward, batch):
        out = forward(batch)
        return out.square().mean(dim=(1, 2)) if len(out) > 1 else out.square().mean()

    want = Objective(model, loss, x, batched=False).many(points)
    assert torch.stack(Objective(model, loss, x).many(points)).tolist() == pytest.approx(torch.stack(want).tolist())


@pytest.mark.parametrize(
    ("shape", "split"),
    [
        ((6, 4), True),  # rows
        ((6,), True),
        ((30, 4), True),  # rows times positions
        ((2, 3, 4), True),  # an entry a point
        ((2, 4), False),
        ((3, 2, 4), False),
        ((4, 6), False),
        ((), False),
    ],
)
def test_parts_are_told_by_the_first_axis(shape, split):
    """Of two points, three rows of five tokens each."""
    told = _Shape(2)
    told.see(None, (), {"input_ids": torch.zeros(6, 5)})
    x = torch.zeros(shape)
    assert told.split(x) is split and not told.split(None)
    assert told.part(x, 1).shape == ((shape[0] // 2, *shape[1:]) if split else shape)
