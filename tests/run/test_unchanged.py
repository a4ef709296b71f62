"""A cell leaves the model as it found it; one that does not is an error, and the numbers of the next one hold."""

from __future__ import annotations

import io
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from kits.matrix import covering
from kits.run_kit import TOKENIZER, assert_untouched, carry_out, numbers, plan, plugin_file, run
from rich.console import Console

from zobench.errors import ZobenchError
from zobench.models.load import adopt
from zobench.plugins.registry import load_plugins
from zobench.run import anatomy
from zobench.run.anatomy import Anatomy
from zobench.run.cell_runner import Runner
from zobench.run.progress import Progress
from zobench.run.unchanged import Guard, ModelChanged

MISDEEDS = """
    import os
    import types
    import torch
    from torch import nn
    from zobench import Estimator, Selector, hookimpl
    from zobench_plugins.estimators.mezo import MeZO

    def up(model):
        return model.model.layers[2].mlp.up_proj

    def bit(model):
        up(model).weight.data.view(torch.int32)[0, 0] ^= 1

    def signs(model):
        for p in model.parameters():
            p.data.view(torch.int32).bitwise_xor_(-(2**31))

    def swap(model):
        w = up(model).weight.data
        w[[0, 1]] = w[[1, 0]]

    def dtype(model):
        up(model).weight.data = up(model).weight.data.bfloat16()

    def buffer(model):
        model.model.rotary_emb.inv_freq.mul_(2)

    def hook(model):
        up(model).register_forward_hook(lambda module, args, out: out * 2)

    def pre_hook(model):
        model.register_forward_pre_hook(lambda module, args: None)

    def forward(model):
        up(model).forward = lambda x: torch.zeros(*x.shape[:-1], 24)

    def module(model):
        model.model.layers[2].mlp.up_proj = nn.Linear(16, 24, bias=False)

    def added(model):
        model.model.layers[2].extra = nn.Linear(2, 2)

    def gone(model):
        del model.model.layers[2]

    def order(model):
        layers = model.model.layers
        layers[0], layers[1] = layers[1], layers[0]

    def untied(model):
        model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone(), requires_grad=False)

    def tied(model):
        model.lm_head.weight = model.model.embed_tokens.weight

    class Twice(nn.Linear):
        def forward(self, x):
            return super().forward(x) * 2

    def kind(model):
        up(model).__class__ = Twice

    def training(model):
        model.train()

    def grads(model):
        up(model).weight.requires_grad_(True)

    def config(model):
        model.config.pad_token_id = 5

    def attribute(model):
        model.model.layers[2].self_attn.scaling = 0.0

    def function(model):
        type(up(model)).forward = lambda self, x: x @ self.weight.t() * 2

    def renamed(model):
        mlp = model.model.layers[2].mlp
        mlp._modules["other"] = mlp._modules.pop("up_proj")

    def act(model, place):
        what, _, where = os.environ.get("MISDEED", "").partition("@")
        if where == place:
            globals()[what](model)

    class Bad(MeZO):
        def iterate(self, losses):
            if self.t == 2:
                act(losses._objective.model, "train")
            return super().iterate(losses)

    class Rude(Selector):
        def select(self, context):
            scope = context.layers(1)
            act(context.loaded.model, "select")
            if os.environ.get("MISDEED", "").endswith("@probe"):
                try:
                    context.probe(scope, 3)
                except Exception:
                    pass
            return scope

    class Other(Selector):
        def select(self, context):
            return context.layers(1)

    class Learner(Estimator):
        trains = False

        def iterate(self, losses):
            raise NotImplementedError

        def fit(self, context):
            act(context._loaded.model, "fit")
            return lambda questions: [0] * len(questions)

    class Probed(MeZO):
        def iterate(self, losses):
            act(losses._objective.model, "probe")
            return super().iterate(losses)

    @hookimpl
    def zobench_estimators():
        return {"bad": Bad, "learner": Learner, "probed": Probed}

    @hookimpl
    def zobench_selectors():
        return {"rude": Rude, "other": Other}
"""
NAMED = {
    "bit": "model.layers.2.mlp.up_proj.weight",
    "signs": "model.embed_tokens.weight",
    "swap": "model.layers.2.mlp.up_proj.weight",
    "dtype": "model.layers.2.mlp.up_proj.weight",
    "buffer": "model.rotary_emb.inv_freq",
    "hook": "forward hooks of model.layers.2.mlp.up_proj",
    "pre_hook": "forward pre hooks of the model",
    "forward": "the forward of model.layers.2.mlp.up_proj",
    "module": "model.layers.2.mlp.up_proj",
    "added": "model.layers.2.extra",
    "gone": "model.layers.2",
    "order": "model.layers.0, model.layers.1",
    "untied": "lm_head.weight",
    "tied": "lm_head.weight",
    "kind": "the class of model.layers.2.mlp.up_proj",
    "training": "training of the model",
    "grads": "requires_grad of model.layers.2.mlp.up_proj.weight",
    "config": "config.pad_token_id",
    "attribute": "scaling of model.layers.2.self_attn",
    "function": "Linear.forward",
    "renamed": "model.layers.2.mlp.up_proj",
}


@pytest.fixture
def misdeeds(tmp_path):
    return load_plugins([plugin_file(tmp_path, MISDEEDS)])


@pytest.fixture(scope="module")
def clean(world, tmp_path_factory):
    """What a cell gives in a process of its own."""
    (record,) = run(world, tmp_path_factory.mktemp("clean"), ["mezo"], ["layer:1"])
    return numbers(record)


@pytest.fixture(scope="module")
def misled(world, tmp_path_factory):
    """A plan of two cells: the estimator that changes something, and one after it."""
    folder = tmp_path_factory.mktemp("misled")
    plugins = load_plugins([plugin_file(folder, MISDEEDS)])
    return plan(world, folder, ["bad", "mezo"], ["layer:1"], plugins=plugins)[0]


@pytest.mark.parametrize("what", NAMED)
def test_what_an_estimator_changed_is_named_and_put_back_before_the_next_cell(
    world, tmp_path, misled, monkeypatch, clean, what
):
    monkeypatch.setenv("MISDEED", f"{what}@train")
    progress = Progress(misled.plugins, 2, Console(file=io.StringIO()))
    bad, after = map(Runner(misled.session, tmp_path, progress), misled.todo)
    assert bad["status"] == "error", bad["error"]
    assert bad["error"].startswith("estimator bad, training at lr 0.001, left the model changed: ")
    assert NAMED[what] in bad["error"] and "put back" in bad["error"] and "\n" not in bad["error"]
    assert "test" not in bad["metrics"]
    assert numbers(after) == clean
    assert_untouched(misled.session.loaded, world)


@pytest.mark.parametrize(("what", "where"), covering(["bit", "hook", "module", "config"], ["select", "probe", "fit"]))
def test_so_is_what_selectors_probes_and_references_changed(world, tmp_path, misdeeds, monkeypatch, clean, what, where):
    monkeypatch.setenv("MISDEED", f"{what}@{where}")
    estimator = {"select": "mezo", "probe": "probed", "fit": "learner"}[where]
    guilty = {"select": "selector rude", "probe": "a probe of estimator Probed", "fit": "estimator learner, in fit,"}
    made, place = plan(world, tmp_path / "r", [estimator], ["rude"], plugins=misdeeds)
    (bad,) = carry_out(made, place)
    assert bad["status"] == "error" and bad["error"].startswith(f"{guilty[where]} left the model changed: ")
    assert NAMED[what] in bad["error"]
    assert_untouched(made.session.loaded, world)
    monkeypatch.delenv("MISDEED")
    (after,) = run(world, tmp_path / "r", ["mezo"], ["layer:1"], plugins=misdeeds)
    assert numbers(after) == clean


def test_the_speed_measurement_is_watched_too(world, tmp_path, misdeeds, monkeypatch):
    monkeypatch.setenv("MISDEED", "swap@train")
    settings = {"speed_steps": 4, "speed_warmup": 1, "steps": 2}  # two steps of training, more in a block of speed
    made, place = plan(world, tmp_path / "r", ["bad"], ["layer:1"], plugins=misdeeds, **settings)
    (bad,) = carry_out(made, place)
    assert bad["status"] == "error"
    assert bad["error"].startswith("measuring the speed of estimator bad left the model changed: model.layers.2.mlp")
    assert_untouched(made.session.loaded, world)


def test_what_changed_before_an_error_is_put_back_and_noted(world, tmp_path, misdeeds, monkeypatch, clean):
    """It is the cause, so it comes first; the error follows."""
    monkeypatch.setenv("MISDEED", "gone@train")
    made, place = plan(world, tmp_path / "r", ["bad", "mezo"], ["layer:2", "layer:1"], plugins=misdeeds)
    records = {(r["cell"]["estimator"], r["cell"]["selector"]): r for r in carry_out(made, place)}
    assert records["bad", "layer:2"]["status"] == "error"
    error = records["bad", "layer:2"]["error"]
    assert error.startswith("estimator bad, training at lr 0.001, left the model changed: model.layers.2; it is put")
    assert "the model has no parameter" in error
    assert numbers(records["mezo", "layer:1"]) == clean


def test_a_model_that_cannot_be_loaded_again_ends_the_run(world, tmp_path, misdeeds, monkeypatch):
    monkeypatch.setenv("MISDEED", "bit@train")
    made, place = plan(world, tmp_path / "r", ["bad", "mezo"], ["layer:1"], plugins=misdeeds)
    made.session.reload = None
    with pytest.raises(ZobenchError, match="cannot run: an earlier cell changed the model, and it cannot be loaded"):
        carry_out(made, place)
    from zobench.report import store

    (bad,), problems = store.read(tmp_path / "r")
    assert not problems and bad["status"] == "error" and "it cannot be loaded again: run the same" in bad["error"]


def test_flags_and_random_streams_of_the_process_are_put_back(world, tmp_path, monkeypatch, capsys):
    source = """
        import random
        import numpy as np
        import torch
        from zobench import hookimpl
        from zobench_plugins.estimators.mezo import MeZO

        SEEN = []

        class Careless(MeZO):
            def iterate(self, losses):
                SEEN.append((random.random(), float(np.random.rand()), float(torch.rand(()))))
                torch.set_default_dtype(torch.float64)
                torch.use_deterministic_algorithms(True, warn_only=True)
                torch.set_grad_enabled(True)
                torch.backends.cudnn.benchmark = True
                torch.set_float32_matmul_precision("medium")
                return super().iterate(losses)

        @hookimpl
        def zobench_estimators():
            return {"careless": Careless}
    """
    plugins = load_plugins([plugin_file(tmp_path, source)])
    (seen,) = [p.SEEN for p in plugins._manager.get_plugins() if hasattr(p, "SEEN")]

    def state():
        random_states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        flags = torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled(), torch.is_grad_enabled()
        return *random_states, *flags, torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()

    before = state()
    made, place = plan(world, tmp_path / "r", ["mezo", "careless"], ["layer:1", "layer:0"], plugins=plugins, steps=2)
    records = {(r["cell"]["estimator"], r["cell"]["selector"]): r for r in carry_out(made, place)}
    assert state() == before
    assert all(r["status"] == "ok" for r in records.values()), [r["error"] for r in records.values()]
    drawn = seen[:2]
    assert seen == drawn * 2  # whatever ran before
    random.random(), np.random.rand(), torch.rand(())
    (alone,) = run(world, tmp_path / "s", ["careless"], ["layer:0"], plugins=plugins, steps=2)
    assert numbers(alone) == numbers(records["careless", "layer:0"])
    warned = capsys.readouterr().err
    assert "estimator careless, training at lr 0.001, changed of the process: default dtype, " in warned


def test_what_a_library_keeps_by_itself_is_taken_off_and_nobody_is_blamed(world, tmp_path):
    """transformers sets hooks when hidden states are first asked for, and remembers that it has."""
    made, place = plan(world, tmp_path, ["mezo"])
    model = made.session.loaded.model
    ids = torch.tensor([[1, 2, 3]])
    guard = Guard(made.session.loaded)
    with torch.no_grad():
        for _ in range(2):
            with guard.watching("a forward"):
                assert len(model(input_ids=ids, output_hidden_states=True).hidden_states) == 4
    (record,) = carry_out(made, place)
    assert record["status"] == "ok"


def loaded_with(**more):
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    shape = dict(vocab_size=512, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2)
    model = LlamaForCausalLM(LlamaConfig(**shape, pad_token_id=0, **more))
    special = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>")
    return adopt(model, PreTrainedTokenizerFast(tokenizer_file=str(TOKENIZER), **special), name="tiny")


ROTARY = {
    "dynamic": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0},
    "longrope": {
        "rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 16,
        "short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "factor": 2.0,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", ROTARY)
@torch.no_grad()
def test_places_that_grow_with_the_text_are_put_back_and_nobody_is_blamed(kind):
    loaded = loaded_with(max_position_embeddings=16, rope_parameters=ROTARY[kind])
    short, long = torch.arange(3, 11)[None], torch.arange(3, 43)[None]
    want, guard = loaded.model(short).logits, Guard(loaded)
    for _ in range(2):
        with guard.watching("a longer text"):
            loaded.model(long)
        assert torch.equal(loaded.model(short).logits, want)


def test_a_tied_head_stays_tied():
    loaded = loaded_with(tie_word_embeddings=True, max_position_embeddings=16)
    guard, model = Guard(loaded, reload=lambda: loaded_with(tie_word_embeddings=True)), loaded.model
    with pytest.raises(ModelChanged, match="this left the model changed: lm_head.weight; it is put back"):
        with guard.watching("this"):
            model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    assert model.lm_head.weight is model.model.embed_tokens.weight
    guard.begin("next")
    with pytest.raises(ModelChanged, match="model.embed_tokens.weight, lm_head.weight; it is put back"):
        with guard.watching("this"), torch.no_grad():
            model.lm_head.weight[3, 5] = 1.0
    assert model.lm_head.weight is model.model.embed_tokens.weight
    guard.begin("next")
    guard.check("nobody")


def test_an_error_that_is_hidden_does_not_let_a_cell_pass():
    guard = Guard(loaded_with(max_position_embeddings=16))
    with pytest.raises(ModelChanged):
        with guard.watching("a probe"):
            guard.model.train()
    with pytest.raises(ModelChanged, match="^a probe left the model changed: training of the model"):
        guard.check("the selector")
    guard.begin("the next cell")
    guard.check("nobody")


def test_what_changed_between_cells_is_put_back_and_told():
    lines = []
    guard = Guard(loaded_with(max_position_embeddings=16), warn=lines.append)
    guard.model.model.layers[0].mlp.act_fn.register_forward_hook(lambda *_: None)
    guard.begin("a cell")
    guard.check("nobody")
    assert len(lines) == 1 and lines[0].startswith("before a cell something changed the model: forward hooks of")


def test_gradients_that_were_left_are_taken_off(world, tmp_path):
    loaded = plan(world, tmp_path, ["mezo"])[0].session.loaded
    guard, p = Guard(loaded), next(loaded.model.parameters())
    p.grad = torch.zeros_like(p)
    assert guard.put_back() == [] and p.grad is None


def test_an_attribute_under_another_name_is_put_back_though_nothing_else_changed():
    module = torch.nn.Linear(2, 2)
    module.note = 1
    anatomy = Anatomy(module)
    assert anatomy.put_back() == []
    vars(module)["other"] = vars(module).pop("note")
    assert anatomy.put_back() == ["note of the model"]
    assert module.note == 1 and not hasattr(module, "other") and anatomy.put_back() == []


@pytest.mark.parametrize(
    ("key", "was", "now", "blamed"),
    [
        ("seen", None, 5, False),  # a forward keeps something there
        ("seen", torch.ones(2), torch.ones(2), False),
        ("forward", None, print, True),
        ("size", 4, 4, False),
        ("size", 4, 5, True),
        ("size", 1, True, True),
        ("name", "a", "b", True),
    ],
)
def test_an_attribute_that_is_another_is_blamed_where_no_forward_keeps_anything(key, was, now, blamed):
    part = anatomy._Thing
    assert part._blamed(SimpleNamespace(thing=torch.nn.Linear(1, 1)), key, was, now) is blamed
