"""A prepared task from pools to scores, against a whole MeZO run on the same pools (golden/e2e_tf4.json)."""

import dataclasses
import types

import numpy as np
import pytest
import torch
from kits.task_kit import golden, llama, loaded, opt, splits, task

from zobench.errors import ZobenchError
from zobench.models.forward import Forward
from zobench.run.batch_order import batches
from zobench.tasks.prepared import PreparedTask
from zobench.tasks.rules import Rules
from zobench.tasks.sampling import split
from zobench.tasks.source import Pools

RUNS = {run["task"]: run for run in golden("e2e_tf4")}


def prepare(name, model, **rules):
    run, args = RUNS[name], RUNS[name]["args"]
    pools = Pools(run["train_pool"], run["valid_pool"], "folder")
    sizes = {key: args[key] for key in ("num_train", "num_dev")}
    made = split(pools, **sizes, num_test=args["num_eval"], seed=args["train_set_seed"])
    assert made.indices["train"] + made.indices["dev"] == run["train_plus_dev_indices"]
    assert made.indices["test"] == run["eval_indices"]
    return PreparedTask(task(name), made, loaded(model), Rules(max_new_tokens=args["max_new_tokens"], **rules))


@pytest.mark.parametrize("name", RUNS)
def test_untouched_model(name):
    model = llama()
    score = prepare(name, model).test_score(model)
    assert score.value == pytest.approx(next(iter(RUNS[name]["zero_shot"].values())), abs=1e-12)


def perturb(model, order, seed, scale):
    torch.manual_seed(seed)
    for name in order:
        p = model.get_parameter(name)
        p.data = p.data + scale * torch.normal(0.0, 1.0, p.shape) * 1e-3


def mezo_step(model, order, step, loss, lr):
    """One step of MeZO as its paper has it, at the recorded seed; returns both losses."""
    perturb(model, order, step["seed"], 1)
    first = loss()
    perturb(model, order, step["seed"], -2)
    second = loss()
    perturb(model, order, step["seed"], 1)
    slope = (first - second) / (2 * 1e-3)
    torch.manual_seed(step["seed"])
    for name in order:
        p = model.get_parameter(name)
        p.data = p.data - lr * slope * torch.normal(0.0, 1.0, p.shape)
    return first, second


@pytest.mark.parametrize("name", RUNS)
def test_a_whole_run(name):
    """Batches, both losses of each step, dev losses, and metrics and predictions of the best checkpoint."""
    run, model = RUNS[name], llama()
    args, order = run["args"], run["param_order"]
    made, curve, best = prepare(name, model), [], None
    stream = batches(made.train_size, args["bs"], 42)
    for number, step in enumerate(run["steps"], 1):
        batch = made.train_batch(next(stream))
        assert list(batch.input_ids.shape) == step["batch_shape"]
        assert int(batch.input_ids.sum()) == step["input_ids_sum"] and batch.option_len.tolist() == step["option_len"]
        if step["input_ids"] is not None:  # recorded for the first three steps
            assert batch.input_ids.tolist() == step["input_ids"]
        first, second = mezo_step(model, order, step, lambda b=batch: made.loss(model, b).item(), args["lr"])
        tolerance = 2e-6 if number == 1 else 4e-4  # float32: 2.6e-4 where the processor has AVX2 and no AVX-512
        assert (first, second) == pytest.approx((step["loss1"], step["loss2"]), abs=tolerance)
        if number % args["eval_steps"] == 0:
            seen = made.dev_loss(model)
            curve.append(seen.value)
            assert seen.forwards == -(-made.dev_size // args["eval_bs"])
            if seen.value == min(curve):
                best = {k: v.clone() for k, v in model.state_dict().items()}
    assert curve == pytest.approx([value for _, value in run["eval_loss"]], abs=2e-4)
    model.load_state_dict(best)
    test, dev = made.test_score(model), made.dev_score(model)
    assert test.predictions == run["eval_predictions"]
    assert test.value == pytest.approx(next(iter(run["metrics"].values())), abs=1e-9)
    assert dev.value == pytest.approx(next(iter(run["dev_metrics"].values())), abs=1e-9)


def test_dev_loss_weighs_the_last_batch_by_its_size():
    """12 dev items of which the last 4 make a batch: the mean over items of their batch's loss, as MeZO's trainer."""
    model, items = llama(), RUNS["SST2"]["train_pool"][:12]
    made = PreparedTask(task("SST2"), splits(items, items, items), loaded(model))
    parts = [made.loss(model, made.train_batch(range(*bounds))).item() for bounds in ((0, 8), (8, 12))]
    seen = made.dev_loss(model)
    assert seen.value == pytest.approx((8 * parts[0] + 4 * parts[1]) / 12, abs=1e-6) and seen.forwards == 2
    assert seen.value != pytest.approx(sum(parts) / 2, abs=1e-6)


@pytest.mark.parametrize(("loss_dtype", "rounded"), [("model", True), ("float32", False)])
def test_dev_loss_in_float16(loss_dtype, rounded):
    """As MeZO has it the mean of float16 losses is a float16; with float32 losses it is not rounded."""
    model = llama(torch.float16)
    value = prepare("SST2", model, loss_dtype=loss_dtype, eval_batch_size=3).dev_loss(model).value
    assert (value == float(np.float16(value))) is rounded


def test_dev_loss_needs_dev_items():
    items = RUNS["SST2"]["train_pool"][:2]
    with pytest.raises(ZobenchError, match="task sst2: there are no dev items"):
        PreparedTask(task("SST2"), splits(items, [], items), loaded()).dev_loss(llama())


def test_non_diff_is_minus_the_f1_of_what_is_generated():
    """On the training batch, padded on the left, and through a forward that has no cache."""
    model = llama()
    made, items = prepare("SQuAD", model, train_loss="non_diff"), RUNS["SQuAD"]["train_pool"]
    batch = made.train_batch([0, 1, 2, 3])
    assert batch.width == 0 and batch.rows == 4
    loss = made.loss(model, batch)
    assert loss.dtype == torch.float32 and loss.shape == ()
    chosen = [items[i] for i in RUNS["SQuAD"]["train_plus_dev_indices"][:4]]
    alone = PreparedTask(task("SQuAD"), splits([], [], chosen), loaded(model), Rules(max_new_tokens=12)).test_score(
        model
    )
    assert loss.item() == pytest.approx(-alone.value, abs=1e-6)
    seen = made.dev_loss(model)
    assert -1 <= seen.value <= 0 and 1 <= seen.forwards <= 12


def test_non_diff_finds_a_right_answer():
    """A model that always says the tokens of the gold answer has a loss of -1."""
    made = prepare("SQuAD", llama(), train_loss="non_diff")
    batch = made.train_batch([0])
    said = made.tokenizer.encode(batch.golds[0][0] + "\n", add_special_tokens=False)
    start = batch.input_ids.shape[1]

    def forward(input_ids, **_):
        logits = torch.zeros(*input_ids.shape, 512)
        logits[:, -1, said[min(input_ids.shape[1] - start, len(said) - 1)]] = 1.0
        return types.SimpleNamespace(logits=logits)

    made.forward = Forward(forward)
    made.rules = Rules(max_new_tokens=40, train_loss="non_diff")
    assert made.loss(forward, batch).item() == -1.0


@pytest.mark.parametrize(
    ("name", "rules", "message"),
    [
        ("SQuAD", {"train_loss": "classification"}, "task squad: train_loss=classification needs candidates"),
        ("SST2", {"train_loss": "non_diff"}, "task sst2: train_loss=non_diff is for generation tasks"),
        ("SQuAD", {"scoring": "sfc"}, "task squad: scoring=sfc needs candidates"),
    ],
)
def test_rules_that_do_not_fit(name, rules, message):
    with pytest.raises(ZobenchError, match=message):
        prepare(name, llama(), **rules)


def test_the_context_of_the_model_bounds_rows():
    """OPT's 512 positions cut what 2048 would hold, its rows begin with id 0, and it pads with its own token."""
    items = [{**RUNS["SST2"]["train_pool"][0], "sentence": "a long film " * 400}] * 2
    model = opt().float()
    made = PreparedTask(task("SST2"), splits(items, items, items), loaded(model))
    batch = made.train_batch([0, 1])
    assert batch.input_ids.shape[1] == 512 and batch.input_ids[:, 0].tolist() == [0] * 4
    assert torch.isfinite(made.loss(model, batch))


def test_bad_items_show_at_once():
    items = RUNS["SST2"]["train_pool"][:2]
    with pytest.raises(ZobenchError, match="task sst2: item 1 lacks sentence; it has idx, label"):
        PreparedTask(task("SST2"), splits(items, items, [items[0], {"label": 1, "idx": 3}]), loaded())


def test_a_model_that_is_not_causal_is_refused():
    held = loaded(llama())
    vars(held)["capabilities"] = dataclasses.replace(held.capabilities, causal=False)
    with pytest.raises(ZobenchError, match="is not causal"):
        PreparedTask(task("SQuAD"), splits([], [], []), held)
