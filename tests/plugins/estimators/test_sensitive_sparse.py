"""Masks of sensitive entries: how they are found, kept and refused, and the step on them against plain torch."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace

import pytest
import torch
from kits.reading_kit import Blocks, batch, difference, draw, loss_at, objective, plus, slope
from safetensors import safe_open
from safetensors.torch import save_file
from zobench_plugins.estimators.mezo import MeZO
from zobench_plugins.estimators.sensitive_sparse import SensitiveSparse
from zobench_plugins.learned.masks import kth_largest, largest, learn_masks, read_masks, write_masks

from zobench import Objective, Scope, ZobenchError

LR, EPS, STEPS = 1e-2, 1e-3, 6


def loaded(model=None):
    """What learn_masks takes of a LoadedModel."""
    return SimpleNamespace(model=model or Blocks(), name="blocks", revision="r1")


def gradients(k):
    """The gradient of a batch, in plain torch."""
    theta = {n: w.requires_grad_() for n, w in Blocks().weights().items()}
    return dict(zip(theta, torch.autograd.grad(loss_at(theta, batch(k)), list(theta.values())), strict=True))


def squares(batches=3):
    """name -> the sum over batches of the squared gradient, float32."""
    each = [gradients(k) for k in range(batches)]
    return {n: sum(g[n].float().square() for g in each) for n in each[0]}


def learnt(density=0.3, per="model", batches=3, only=()):
    model = Blocks()
    objectives = [objective(model, k) for k in range(batches)]
    return learn_masks(loaded(model), objectives, density=density, per=per, only=only)


@pytest.fixture
def file(tmp_path):
    masks, facts = learnt()
    return tmp_path / "m.safetensors", write_masks(tmp_path / "m.safetensors", masks, facts)


def ones(indices, theta):
    """Masks of 0 and 1 by these indices; 0 for tensors that have none."""
    out = {}
    for n, w in theta.items():
        flat = torch.zeros(w.numel(), dtype=w.dtype)
        flat[indices.get(n, torch.empty(0, dtype=torch.int64))] = 1
        out[n] = flat.view(w.shape)
    return out


# ---- finding them


def test_of_the_whole_model_the_largest_are_taken():
    masks, facts = learnt(density=0.3)
    want = squares()
    everything = torch.cat([s.flatten() for s in want.values()])
    least = everything.sort(descending=True).values[round(0.3 * everything.numel()) - 1]
    for n, s in want.items():
        expected = (s.flatten() >= least).nonzero().flatten()
        assert torch.equal(masks.get(n, torch.empty(0, dtype=torch.int64)), expected)
    inside = everything[everything >= least]
    assert facts["entries"] == inside.numel() and facts["batches"] == 3 and facts["model"] == "blocks"
    assert facts["share_of_squares"] == pytest.approx(float(inside.sum() / everything.sum()), rel=1e-5)


def test_of_each_tensor_the_largest_are_taken_and_only_named_ones():
    masks, _ = learnt(density=0.25, per="tensor", only=("layers", "no such name"))
    want = {n: s for n, s in squares().items() if "layers" in n}
    assert masks.keys() == want.keys()
    for n, s in want.items():
        k = max(1, round(0.25 * s.numel()))
        assert set(masks[n].tolist()) == set(s.flatten().topk(k).indices.tolist())


def test_both_ways_differ_and_so_do_batches():
    a, b, c = learnt()[0], learnt(per="tensor")[0], learnt(batches=1)[0]
    assert not all(torch.equal(a[n], b[n]) for n in a.keys() & b.keys()) or a.keys() != b.keys()
    assert not all(torch.equal(a[n], c[n]) for n in a.keys() & c.keys()) or a.keys() != c.keys()


def test_squares_are_summed_not_sums_squared():
    """A mask of the squared mean gradient would be another: batches that cancel count here."""
    model = torch.nn.ParameterDict({"w": torch.nn.Parameter(torch.zeros(2))})

    def loss(forward, sign):
        return (model["w"] * torch.tensor([sign, 0.5])).sum() if forward is model else forward(sign)

    objectives = []
    for sign in (1.0, -1.0):
        one = Objective(model, loss, sign, batched=False)
        one.gradient = lambda names, sign=sign: (torch.tensor(0.0), {"w": torch.tensor([sign, 0.5])})
        objectives.append(one)
    masks, _ = learn_masks(loaded(model), objectives, density=0.5)
    assert masks["w"].tolist() == [0]


@pytest.mark.parametrize("k", [1, 2, 7, 50, 119, 120])
def test_kth_largest_is_that_of_sorting(k):
    g = torch.Generator().manual_seed(k)
    parts = [torch.rand(40, generator=g) ** 30, torch.rand(5, 8, generator=g), torch.zeros(30), torch.full((10,), 0.5)]
    expected = torch.cat([p.flatten() for p in parts]).sort(descending=True).values[k - 1]
    assert kth_largest(parts, k) == float(expected)


def test_ties_are_all_in_and_zeros_all_out():
    found = largest({"a": torch.tensor([3.0, 2.0, 2.0, 0.0]), "b": torch.zeros(4)}, 0.25, "model")
    assert {n: i.tolist() for n, i in found.items()} == {"a": [0, 1, 2]}
    assert largest({"a": torch.tensor([[0.0, 1.0], [0.0, 0.0]])}, 1.0, "tensor")["a"].tolist() == [1]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"density": 0.0}, "density=0.0: must be above 0"),
        ({"batches": 0}, "no batch to take a gradient of"),
        ({"only": ("attn",)}, "blocks has no parameter with attn in its name"),
    ],
)
def test_what_cannot_be_learnt_is_named(given, text):
    with pytest.raises(ZobenchError, match=text):
        learnt(**given)


def test_gradients_that_are_not_finite_are_refused():
    model = Blocks()
    with torch.no_grad():
        model.head[0] = torch.inf
    with pytest.raises(ZobenchError, match=r"squared gradient of .* is not finite; load the model in float32"):
        learn_masks(loaded(model), [objective(model, 0)])


# ---- keeping them


def test_a_file_gives_back_what_was_written(file):
    path, digest = file
    masks, facts = learnt()
    again, found = read_masks(path, digest[:12].upper())
    assert again.keys() == masks.keys() and all(torch.equal(again[n], masks[n]) for n in masks) and found == facts
    assert all(i.dtype == torch.int64 for i in again.values())
    with safe_open(path, framework="pt") as raw:
        assert {raw.get_tensor(n).dtype for n in raw.keys()} == {torch.int32}  # noqa: SIM118
        assert raw.metadata()["kind"] == "masks"
    assert [p.name for p in path.parent.iterdir()] == [path.name], "nothing half-written stays"


def test_files_that_are_none(file, tmp_path):
    path, digest = file
    (tmp_path / "text").write_text("no tensors here")
    save_file({"w": torch.zeros(1)}, tmp_path / "other.safetensors", metadata={"kind": "scales", "facts": "{}"})
    save_file({"w": torch.zeros(1)}, tmp_path / "bare.safetensors")
    for name, sha256, text in (
        ("missing", "", "no such file; make one with python -m zobench_plugins.learned masks"),
        ("text", "", "is no safetensors file"),
        ("other.safetensors", "", "holds scales, not masks"),
        ("bare.safetensors", "", "holds something else, not masks"),
        (path.name, "0" * 64, f"has SHA-256 {digest[:16]}..., not {'0' * 16}...: it is another file"),
    ):
        with pytest.raises(ZobenchError, match=text):
            read_masks(tmp_path / name, sha256)
    with pytest.raises(ZobenchError, match="cannot be written"):
        write_masks(tmp_path / "nowhere" / "m.safetensors", *learnt())


# ---- training with them


def run(cls=SensitiveSparse, engine="pair", steps=STEPS, scope=Scope, **settings):
    model = Blocks()
    opt = cls(scope(model.named_parameters()), lr=LR, engine=engine, **settings)
    for k in range(steps):
        opt.step(objective(model, k))
    opt.settle()
    return model.weights(), opt


@pytest.mark.parametrize("engine", ["flat", "pair", "deferred", "official"])
def test_step_of_a_file(file, engine):
    theta = Blocks().weights()
    mask = ones(learnt()[0], theta)
    for t in range(STEPS):
        d = {n: mask[n] * z for n, z in draw(theta, t).items()}
        theta = plus(theta, -LR * slope(theta, d, batch(t), EPS), d)
    found, opt = run(engine=engine, masks=str(file[0]))
    assert difference(found, theta) < 1e-10
    assert opt.state_bytes() == 8 * sum(i.numel() for i in learnt()[0].values())
    assert opt.forwards == {"train": 2 * STEPS}, "no backward pass"


def test_what_the_mask_does_not_hold_stays_bit_for_bit(file):
    start, found = Blocks().weights(), run(masks=str(file[0]))[0]
    for n, m in ones(learnt()[0], start).items():
        assert torch.equal(found[n] != start[n], m == 1)


def test_a_mask_outside_of_the_scope_is_left_alone(file):
    def layer(named):
        return Scope([(n, p) for n, p in named if "layers.1" in n])

    start, found = Blocks().weights(), run(masks=str(file[0]), scope=layer)[0]
    inside = {n for n in learnt()[0] if "layers.1" in n}
    assert inside and {n for n in start if not torch.equal(start[n], found[n])} == inside


def test_resuming_takes_the_masks_along(file):
    whole, _ = run(masks=str(file[0]))
    first_model, second_model = Blocks(), Blocks()
    first = SensitiveSparse(Scope(first_model.named_parameters()), lr=LR, engine="pair", masks=str(file[0]))
    for k in range(3):
        first.step(objective(first_model, k))
    second = SensitiveSparse(Scope(second_model.named_parameters()), lr=LR, engine="pair", masks=str(file[0]))
    saved = first.state_dict()
    second_model.load_state_dict(first_model.state_dict())
    second.load_state_dict(saved)
    for k in range(3, STEPS):
        second.step(objective(second_model, k))
    second.settle()
    assert difference(whole, second_model.weights()) == 0


def test_random_masks_have_their_density_and_stay():
    moved = []
    model = torch.nn.ParameterDict({"w": torch.nn.Parameter(torch.zeros(100, 200, dtype=torch.float64))})
    opt = SensitiveSparse(Scope(model.named_parameters()), lr=1.0, masks="random", density=0.1)
    for _ in range(3):
        before = model["w"].detach().clone()
        opt.step(lambda: model["w"].detach().sum())
        opt.settle()
        moved.append(model["w"].detach() != before)
    assert torch.equal(moved[0], moved[1]) and torch.equal(moved[0], moved[2])
    assert abs(float(moved[0].double().mean()) - 0.1) < 5 * (0.1 * 0.9 / 20_000) ** 0.5


@pytest.mark.parametrize("engine", ["flat", "pair", "deferred", "official"])
def test_with_everything_in_the_mask_it_is_mezo_bit_for_bit(engine):
    assert difference(run(engine=engine, **SensitiveSparse.neutral)[0], run(MeZO, engine=engine)[0]) == 0


def refused(text, named=None, weight_decay=0.0, **settings):
    with pytest.raises(ZobenchError, match=text):
        SensitiveSparse(named or Scope(Blocks().named_parameters()), 1.0, weight_decay, **settings)


def test_what_does_not_go_together_is_refused(file, tmp_path):
    path = str(file[0])
    refused("set sensitive_sparse.masks to a file of masks; make one with python -m zobench_plugins.learned masks")
    refused("no such file", masks=str(tmp_path / "none"))
    refused("it is another file", masks=path, sha256="abc" * 5)
    refused("weight decay would move entries outside the mask", masks=path, weight_decay=0.1)
    refused("density=0: must be above 0", masks="random", density=0)
    lora = [("layers.0.w.lora_A", torch.nn.Parameter(torch.zeros(2, 4)))]
    refused("has masks of blocks, and none of the scope's tensors, such as layers.0.w.lora_A", lora, masks=path)
    name = next(n for n in learnt()[0] if n.endswith("w"))
    other = [(name, torch.nn.Parameter(torch.zeros(5, 5)))]
    refused(
        rf"mask of {name} is for shape \[4, 4\], the tensor has \[5, 5\]: it was made for blocks", other, masks=path
    )


# ---- the command


class Letters(torch.nn.Module):
    """A language model of ten letters: the next one by a table."""

    def __init__(self):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.table = torch.nn.Parameter(torch.randn(10, 10, generator=g))

    def forward(self, input_ids, use_cache):
        assert use_cache is False
        return SimpleNamespace(logits=self.table[input_ids])


def tokenizer(text, verbose):
    return {"input_ids": [int(c) for c in text if c.isdecimal()]}


@pytest.fixture
def letters(monkeypatch):
    from zobench_plugins.learned import __main__ as command

    model = SimpleNamespace(
        model=Letters(),
        name="letters",
        revision=None,
        tokenizer=tokenizer,
        context_length=64,
        device=torch.device("cpu"),
        dtype="float32",
    )
    monkeypatch.setattr(command, "load_model", lambda name, dtype, device: model)
    return model


def command(monkeypatch, *arguments):
    from zobench_plugins.learned import __main__ as learned

    monkeypatch.setattr("sys.argv", ["learned", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        learned.main()
    return left.value.code


def test_the_command_makes_masks_of_text(letters, monkeypatch, tmp_path, capsys):
    text, out = tmp_path / "t.txt", tmp_path / "m.safetensors"
    text.write_text("0123" * 50)
    options = ["--model", "letters", "--text", text, "--out", out, "--density", 0.2, "--length", 16, "--batches", 2]
    assert command(monkeypatch, "masks", *options) == 0
    masks, facts = read_masks(out)
    assert facts["text"] == "t.txt" and facts["batches"] == 2 and facts["model"] == "letters"
    rows = {int(i) // 10 for i in masks["table"]}
    assert rows <= {0, 1, 2, 3}, "the text has these letters alone"
    said = capsys.readouterr().out
    assert f"{facts['entries']} entries of 1 tensors" in said and "sha256 " in said
    SensitiveSparse(
        Scope(Letters().named_parameters()), lr=1.0, masks=str(out), sha256=said.split("sha256 ")[1].strip()
    )


def test_faults_of_the_command_are_one_line(letters, monkeypatch, tmp_path, capsys):
    text = tmp_path / "t.txt"
    text.write_text("0123")
    options = ["--model", "letters", "--out", tmp_path / "m", "--text"]
    for more, said in (
        ([tmp_path / "none"], "cannot be read"),
        ([text], "windows of 128 tokens: letters reads at most 64"),
        ([text, "--length", 16], "the text has 4 tokens, a window 16"),
        ([text, "--per", "layer"], "--per layer: model or tensor"),
    ):
        assert command(monkeypatch, "masks", *options, *more) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1


def test_windows_of_text_are_those_of_the_seed(letters):
    from zobench_plugins.learned.text import text_objectives

    def first(seed):
        made = text_objectives(letters, "0123456789" * 5, batch_size=3, length=8, seed=seed)
        return [o.batch for o in itertools.islice(made, 2)]

    a, b, c = first(0), first(0), first(1)
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True)) and not torch.equal(a[0], c[0])
    assert a[0].shape == (3, 8) and all(((row[1:] - row[:-1]) % 10 == 1).all() for row in torch.cat(a))
    loss = next(iter(text_objectives(letters, "0123456789" * 5, batch_size=3, length=8)))()
    rows = a[0]
    expected = -letters.model.table.log_softmax(-1)[rows[:, :-1], rows[:, 1:]].mean()
    assert torch.allclose(loss, expected)


def test_facts_are_plain_json():
    assert json.loads(json.dumps(learnt()[1])) == learnt()[1]
