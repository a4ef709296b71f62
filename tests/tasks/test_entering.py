"""What is shown to enter a linear layer: tokens that the loss depends on, the same in every form of a batch's rows."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from test_pack import examples, held, model_of
from torch import nn

from zobench import Objective
from zobench.models.forward import Forward
from zobench.tasks.batch import collate
from zobench.tasks.entering import entering
from zobench.tasks.loss import LOSSES

FORMS = {"replicated": {}, "shared": {"shared": 1}, "packed": {"packed": 1}, "few": {"packed": 1, "few": True}}


def linear(model):
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}


def alone(model, rows, name):
    """By name of its weight, what enters each linear layer when rows pass without their last token, each by itself."""
    seen: dict[str, list[torch.Tensor]] = {}
    head = model.get_output_embeddings()
    for row in rows:
        last = slice(-row.option_len, None) if name != "lm" else slice(None)
        hooks = [
            m.register_forward_pre_hook(
                lambda m, args, n=n, s=last: seen.setdefault(n, []).append(args[0][0, s] if m is head else args[0][0])
            )
            for n, m in linear(model).items()
        ]
        model(input_ids=torch.tensor([row.ids[:-1]]))
        for hook in hooks:
            hook.remove()
    return {f"{n}.weight": torch.cat(of) for n, of in seen.items()}


def shown(model, batch, name, names, keep=True):
    forward, seen = Forward.of(held(model), keep=keep), {}
    loss = LOSSES[name] if keep else partial(LOSSES[name], all_positions=True)
    look = Objective(
        model,
        lambda call, b: loss(forward.through(call), b),
        batch,
        entering=partial(entering, model, name),
    )
    value = look.with_inputs(names, seen.__setitem__)
    assert float(value) == pytest.approx(float(look()), rel=1e-5)
    return seen


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["classification", "option"])
@pytest.mark.parametrize("only_head", [False, True])  # alone, it is given the places looked at
def test_every_form_shows_the_tokens_that_the_loss_depends_on(form, name, only_head):
    model = model_of("llama")
    batch = collate(examples(beginning=1), 0, **FORMS[form])
    rows = [row for example in examples(beginning=1) for row in example.rows]
    expected = alone(model, rows, name)
    names = ["lm_head.weight"] if only_head else list(expected)
    for n, x in shown(model, batch, name, names).items():
        assert x.shape == expected[n].shape and torch.allclose(x, expected[n], atol=2e-5), n
    assert len(expected["lm_head.weight"]) == sum(row.option_len for row in rows) < len(expected[names[0]]) or only_head


@pytest.mark.parametrize(("name", "keep"), [("lm", True), ("option", False)])
def test_losses_over_whole_rows(name, keep):
    """MeZO's logits at all positions; and the loss of all tokens, to which the head is given what predicts any."""
    model, batch = model_of("llama"), collate(examples(), 0)
    expected = alone(model, [row for example in examples() for row in example.rows], name)
    for n, x in shown(model, batch, name, list(expected), keep).items():
        assert x.shape == expected[n].shape and torch.allclose(x, expected[n], atol=2e-5), n


def test_what_is_not_of_all_tokens_is_shown_as_it_is():
    """An expert is given some tokens, and nobody knows which."""
    model, layer = model_of("llama"), nn.Linear(4, 4)
    for form in FORMS.values():
        pick = entering(model, "option", collate(examples(), 0, **form))
        x = torch.randn(1, 7, 4)
        assert torch.equal(pick(layer, x), x[0]) and torch.equal(pick(model.lm_head, x), x[0])
