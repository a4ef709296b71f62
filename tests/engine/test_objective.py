"""The objective: all its ways of evaluating a loss agree."""

import pytest
import torch
from kits.toy_runs import MeZO, Run, apart, cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from zobench import Objective
from zobench.errors import ZobenchError


def llama(attention):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, attn_implementation=attention,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def lm_loss(forward, batch):
    ids, mask = batch
    logits = forward(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1].float()
    return torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))


def text():
    g = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 64, (3, 9), generator=g)
    mask = torch.ones_like(ids)
    mask[0, :4] = 0  # left padding
    return ids, mask


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_many_points_at_once_on_a_language_model(attention):
    model = llama(attention)
    points = [{n: p + s * 0.01 for n, p in model.named_parameters() if "layers.1." in n} for s in (1, -1, 0)]
    together = Objective(model, lm_loss, text()).many(points)
    one_by_one = Objective(model, lm_loss, text(), batched=False).many(points)
    assert torch.allclose(torch.stack(together), torch.stack(one_by_one), atol=1e-5)
    assert float(one_by_one[2]) == float(Objective(model, lm_loss, text())())
    assert len({float(x) for x in one_by_one}) == 3


def test_pair_and_flat_agree_on_a_language_model():
    weights = []
    for engine, batched in (("flat", False), ("pair", True), ("pair", False)):
        model = llama("sdpa")
        opt = MeZO(model.named_parameters(), lr=1e-3, engine=engine)
        for _ in range(3):
            opt.step(Objective(model, lm_loss, text(), batched=batched))
        weights.append({n: p.detach().clone() for n, p in model.named_parameters()})
    assert max(apart(weights[0], w) for w in weights) < 2e-4


def test_jvp_and_gradient_on_a_language_model():
    model = llama("sdpa").double()
    objective = Objective(model, lambda f, b: f(input_ids=b, labels=b, use_cache=False).loss.double(), text()[0])
    g = torch.Generator().manual_seed(0)
    tangents = {n: torch.randn(p.shape, generator=g, dtype=p.dtype) for n, p in model.named_parameters()}
    loss, slope = objective.jvp(tangents)
    again, grads = objective.gradient(list(tangents))
    assert float(loss) == pytest.approx(float(again), rel=1e-6)
    assert float(slope) == pytest.approx(float(sum((grads[n] * t).sum() for n, t in tangents.items())), rel=1e-4)
    assert all(p.grad is None for p in model.parameters())


def test_gradient_of_an_unused_parameter_is_zero():
    run = Run()
    run.model.spare = torch.nn.Linear(2, 2)
    names = [n for n, _ in run.model.named_parameters()]
    _, grads = Objective(run.model, cross_entropy, run.batch(0)).gradient(names)
    assert float(grads["spare.weight"].abs().max()) == 0 and float(grads["layers.0.weight"].abs().max()) > 0


def test_a_loss_without_a_gradient_is_told():
    run = Run()
    score = lambda forward, batch: torch.tensor(-0.5)  # noqa: E731
    with pytest.raises(ZobenchError, match="this loss has no gradient: choose an estimator that needs none"):
        Objective(run.model, score, run.batch(0)).gradient(["layers.0.weight"])


def test_names_must_be_the_models():
    run = Run()
    objective = Objective(run.model, cross_entropy, run.batch(0))
    for call in (
        lambda: objective.many([{"p0": torch.ones(8, 6)}]),
        lambda: objective.gradient(["p0"]),
        lambda: objective.jvp({"p0": torch.ones(8, 6)}),
    ):
        with pytest.raises(KeyError, match="no parameter 'p0': give the estimator model.named_parameters"):
            call()


def test_fresh_takes_the_next_batch():
    run = Run()
    batches = iter([run.batch(1), run.batch(2)])
    objective = Objective(run.model, cross_entropy, run.batch(0), batches)
    losses = [float(objective()), float(objective.fresh()()), float(objective.fresh()())]
    assert losses == [float(Objective(run.model, cross_entropy, run.batch(i))()) for i in range(3)]
    assert objective().requires_grad is False
