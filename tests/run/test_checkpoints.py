"""Which checkpoint a run keeps, at which rates it steps, and what a tied tensor is."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import Qwen3Config, Qwen3ForCausalLM

from zobench import Objective, Scope
from zobench.models.load import adopt
from zobench.plugins.registry import load_plugins
from zobench.protocol.protocol import Computation, Protocol
from zobench.run.method import Method, applied
from zobench.run.selection import everything
from zobench.run.train import Trained, _checkpoint, train
from zobench.tasks.score import Evaluated


class Prepared:
    """Four training items, and a dev loss from a script."""

    train_size, spread, graphs, loss_name = 4, None, None, "lm"

    def __init__(self, dev_losses):
        self.script = iter(dev_losses)

    def train_batch(self, indices):
        return SimpleNamespace(to=lambda device: self)

    def loss(self, forward, batch):
        return forward(torch.ones(1, 3)).sum()

    def dev_loss(self, model):
        return Evaluated(next(self.script), 1)


def go(dev_losses, **settings):
    """The run, and the rates and weights of every step."""
    model = nn.Linear(3, 2).requires_grad_(False)
    weights = []
    watcher = SimpleNamespace(step=lambda *a: None, dev=lambda *a: weights.append(model.weight.clone()))
    estimator = load_plugins().estimator("mezo")(Scope(model.named_parameters()), lr=0.1, engine="flat")
    loaded = SimpleNamespace(model=model, device=torch.device("cpu"))
    protocol = Protocol(steps=len(dev_losses), eval_every=1, batch_size=2, **settings)
    run = train(estimator, loaded, Prepared(dev_losses), protocol, lr=0.1, seed=0, keep=torch.clone, watcher=watcher)
    return run, [step.lr[0] for step in estimator.log], weights


def test_of_equal_dev_losses_the_earlier_is_kept():
    run, _, weights = go([3.0, 2.0, 2.0, 5.0])
    assert (run.best_step, run.best_loss, run.curve[-1]) == (2, 2.0, (4, 5.0))
    assert torch.equal(run.best["weight"], weights[1]) and not torch.equal(weights[1], weights[2])


def test_a_run_that_went_on_has_no_weights_of_an_earlier_step_than_its_best():
    """Of a checkpoint that an earlier rate's beats nothing is kept, though there are weights of one before."""
    model = nn.Linear(3, 2).requires_grad_(False)
    estimator = load_plugins().estimator("mezo")(Scope(model.named_parameters()), lr=0.1, engine="flat")
    out, beat = Trained(0.1, steps=2, best_step=1, best_loss=3.0, best={"weight": model.weight.clone()}), Trained(0.2)
    for beaten, kept in ((1.0, set()), (2.5, {"weight", "bias"})):
        beat.best_loss, out.best_loss = beaten, 3.0
        _checkpoint(
            estimator, SimpleNamespace(model=model), Prepared([2.0]), out, keep=torch.clone, watcher=None, beat=beat
        )
        assert (out.best_step, out.best_loss) == (2, 2.0) and set(out.best) == kept


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_dev_loss_that_is_no_number_ends_the_run(value):
    run, rates, _ = go([3.0, value, 1.0])
    assert (run.status, run.steps, len(rates)) == ("diverged", 2, 2) and "the dev loss is" in run.message


def test_the_linear_schedule_starts_at_lr_and_would_end_at_0():
    assert go([1.0] * 4)[1] == [0.1] * 4
    assert go([1.0] * 4, lr_schedule="linear")[1] == pytest.approx([0.1, 0.075, 0.05, 0.025])


@pytest.mark.parametrize("noise", ["per_tensor", "official"])
@pytest.mark.parametrize("engine", ["official", "flat", "deferred", "pair"])
def test_tied_weights_move_once_on_every_engine(engine, noise):
    """The head stays the embedding, both during a look and after a move, and moves by one draw of z."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=32, tie_word_embeddings=True,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config)
    tokenizer = SimpleNamespace(pad_token_id=0, eos_token_id=2, padding_side="right")
    loaded, ids, seen = adopt(model, tokenizer, name="tied"), torch.arange(3, 9)[None], []

    def loss(forward, batch):
        out = forward(input_ids=ids, output_hidden_states=True, use_cache=False)
        seen.append((out.hidden_states[0][0].clone(), model.get_output_embeddings()))
        return out.logits.float().logsumexp(-1).mean()

    start, eps = model.model.embed_tokens.weight.clone(), 1e-2
    method = Method(load_plugins().estimator("mezo"), {"eps": eps}, Computation(engine=engine, noise=noise))
    with applied(method, loaded, everything(loaded), lr=0.1, seed=0, keep=torch.clone) as on:
        assert [n for n, _ in on.scope.named if "lm_head" in n] == []
        on.estimator.step(Objective(model, loss, None, batched=False))
        on.estimator.settle()
        plus, minus = on.estimator.log[0].seen
        z = (seen[0][0] - seen[1][0]) / (2 * eps)
        assert model.lm_head.weight is model.model.embed_tokens.weight
        moved = (model.lm_head.weight - start)[ids[0]]
        assert torch.allclose(moved, -0.1 * (plus - minus) / (2 * eps) * z, atol=1e-5)
    assert torch.equal(model.lm_head.weight, start)
