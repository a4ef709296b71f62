"""The losses, against MeZO's wrapped forward on the same weights and batches."""

from types import SimpleNamespace

import pytest
import torch
from kits.task_kit import golden, llama, loaded, opt, output, splits, task
from torch.func import functional_call, vmap

from zobench.models.forward import Forward
from zobench.tasks.batch import Batch, collate
from zobench.tasks.encode import Encoded, Row
from zobench.tasks.loss import LOSSES, _width, option_log_probs, weight
from zobench.tasks.prepared import PreparedTask
from zobench.tasks.rules import Rules

OBJECTIVES = ["option", "option_nopad", "classification", "classification_ragged", "lm"]
LOSS_OF = {"option_nopad": "option", "classification_ragged": "classification"}


def batch_of(raw) -> Batch:
    ids, counts = torch.tensor(raw["input_ids"]), raw.get("num_options", [1] * len(raw["input_ids"]))
    groups, labels, place = [], [], 0
    while place < len(counts):
        groups.append(counts[place])
        labels.append(raw["labels"][place] if "num_options" in raw else 0)
        place += counts[place]
    option_len = raw.get("option_len", [1] * len(ids))
    mask = torch.tensor(raw["attention_mask"])
    return Batch(
        ids, mask, torch.tensor(option_len), torch.tensor(labels), tuple(groups), max(option_len), int(mask.sum())
    )


def expected(model, objective, dtype):
    runs = golden("zo_steps")["runs"]
    return next(r["loss_before"] for r in runs if (r["model"], r["objective"], r["dtype"]) == (model, objective, dtype))


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_llama(objective, dtype, keep):
    if (objective, dtype) == ("option_nopad", "float32"):
        dtype = "float64"
    loss = LOSSES[LOSS_OF.get(objective, objective)]
    batch = batch_of(golden("llama_batches")[objective])
    got = loss(Forward(llama(getattr(torch, dtype)), keep=keep, use_cache=keep), batch)
    assert got.shape == () and got.dtype == getattr(torch, dtype)
    tolerance = 1e-6 if (objective, dtype) == ("lm", "float64") else {"float32": 2e-6, "float64": 1e-12}[dtype]
    assert got.item() == pytest.approx(expected("llama", objective, dtype), abs=tolerance)


def test_opt():
    got = LOSSES["option"](Forward(opt(), keep=True, use_cache=True), batch_of(golden("opt_batches")["option"]))
    assert got.item() == pytest.approx(expected("opt", "option", "float64"), abs=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_under_functional_call_and_vmap(objective):
    """Two copies of the weights at once give what each gives alone."""
    model, batch = llama(torch.float64), batch_of(golden("llama_batches")[objective])
    loss = LOSSES[LOSS_OF.get(objective, objective)]
    weights = dict(model.named_parameters())
    moved = {name: w * 1.1 for name, w in weights.items()}
    both = {name: torch.stack([w, moved[name]]) for name, w in weights.items()}

    def at(parameters):
        call = lambda **kw: functional_call(model, parameters, (), kw)  # noqa: E731
        return loss(Forward(call, keep=True, use_cache=True), batch)

    together = vmap(at)(both)
    assert torch.allclose(together, torch.stack([at(weights), at(moved)]), rtol=1e-12, atol=0)
    assert together[0] != together[1]


def two_rows() -> Batch:
    rows = (Row((1, 5, 6, 7), 2), Row((1, 5, 6), 1))
    return collate([Encoded(rows, 1, (1,), ("x",), "")], 0, 4)


def test_collate_pads_left_to_the_multiple():
    batch = two_rows()
    assert batch.input_ids.tolist() == [[1, 5, 6, 7], [0, 1, 5, 6]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [0, 1, 1, 1]]
    assert (batch.option_len.tolist(), batch.labels.tolist(), batch.num_options) == ([2, 1], [1], (2,))
    assert (batch.width, batch.tokens, batch.rows, batch.examples) == (2, 7, 2, 1)
    long = collate([Encoded((Row((1, 2, 3, 4, 5), 1),), 0, (0,), (), "")], 9, 4)
    assert long.input_ids.tolist() == [[9, 9, 9, 1, 2, 3, 4, 5]]


def test_padding_ends_with_the_context_of_the_model():
    """A table of 60 places has no 64th: the multiple of 8 gives way, never a row."""
    rows = (Row(tuple(range(1, 59)), 1), Row((1, 5), 1))
    assert collate([Encoded(rows, 1, (1,), ("x",), "")], 0, 8, most=60).input_ids.shape == (2, 60)
    assert collate([Encoded(rows, 1, (1,), ("x",), "")], 0, 8, most=512).input_ids.shape == (2, 64)


def test_loss_by_hand():
    """Uniform logits: every token costs log V, so option loss is log V and candidates tie."""
    batch = two_rows()
    uniform = Forward(lambda **kw: output(torch.zeros(*kw["input_ids"].shape, 10)))
    assert LOSSES["option"](uniform, batch).item() == pytest.approx(torch.log(torch.tensor(10.0)).item())
    assert LOSSES["classification"](uniform, batch).item() == pytest.approx(torch.log(torch.tensor(2.0)).item())
    selected, inside = option_log_probs(uniform, batch)
    assert inside.tolist() == [[True, True], [False, True]]
    assert torch.allclose(selected, torch.tensor([[-2.302585, -2.302585], [0.0, -2.302585]]))


def test_lm_counts_every_token_that_is_no_padding():
    rows = (Row((1, 5, 6, 7), 2), Row((1, 5, 6), 1))
    batch = collate([Encoded(rows, 1, (1,), ("x",), "")], 0, 8)
    logits = torch.randn(*batch.input_ids.shape, 10, generator=torch.Generator().manual_seed(0))
    said = -logits.log_softmax(-1)
    own = [said[row, at - 1, batch.input_ids[row, at]] for row, at in batch.attention_mask.nonzero().tolist() if at > 0]
    assert len(own) < batch.input_ids[:, 1:].numel(), "one of the rows is padded"
    got = LOSSES["lm"](Forward(lambda **kw: output(logits)), batch)
    assert got.item() == pytest.approx(float(torch.stack(own).mean()), abs=1e-6)


def test_a_token_with_the_pad_id_stays_in_the_loss():
    """MeZO would drop it where the config names that id; here padding is what the mask says."""
    model = Forward(llama())
    kept, other = Row((1, 9, 8, 0), 1), Row((1, 9, 8, 3), 1)
    losses = [LOSSES["option"](model, collate([Encoded((row,), 0, (0,), (), "")], 0)).item() for row in (kept, other)]
    assert all(torch.isfinite(torch.tensor(losses))) and losses[0] != losses[1]


@pytest.mark.parametrize("name", ["option", "classification"])
def test_tokens_with_the_pad_id_can_be_dropped_as_in_mezo(name):
    """The answers 8 0 and 8 3 of which 0 is dropped: the loss is that of 8 alone in the first."""
    model, rows = Forward(llama()), (Row((1, 9, 8, 0), 2), Row((1, 9, 8, 3), 2))
    batch = collate([Encoded(rows if name == "classification" else rows[:1], 0, (0,), (), "")], 0)
    log_probs, _ = option_log_probs(model, batch)
    first, second = log_probs[0, 0], log_probs[-1].mean()
    by_hand = -first if name == "option" else torch.logsumexp(torch.stack([first, second]), 0) - first
    assert LOSSES[name](model, batch, dropped=0).item() == pytest.approx(by_hand.item(), abs=1e-6)
    assert LOSSES[name](model, batch).item() != pytest.approx(by_hand.item(), abs=1e-3)
    assert LOSSES[name](model, batch, dropped=7).item() == LOSSES[name](model, batch).item()


@pytest.mark.parametrize("form", [{}, {"shared": 1}, {"packed": 1}])
def test_what_a_part_of_a_batch_weighs(form):
    """By what its mean is of: tokens that count, or examples."""
    rows = ((Row((1, 9, 8, 0), 2), Row((1, 9, 8, 3, 5), 3)), (Row((4, 0), 1),))
    batch = collate([Encoded(of, 0, (0,), (), "") for of in rows], 0, **form)
    assert weight(batch, "option") == 6 and weight(batch, "option", dropped=0) == 4
    assert weight(batch, "classification") == weight(batch, "classification", dropped=0) == 2


def test_which_tokens_are_dropped_is_a_setting():
    items = [s["data"] for s in golden("prompts")["SST2"]["samples"]]
    for pad_targets, expected in (("keep", None), ("drop", 0)):
        made = PreparedTask(task("SST2"), splits(items, items, items), loaded(), Rules(pad_targets=pad_targets))
        assert made.counting["dropped"] == expected


@pytest.mark.parametrize("objective", ["option", "classification"])
def test_loss_dtype(objective):
    """In float16 the loss is one; read as float32 the same logits give a finer number near it."""
    model, batch = llama(torch.float16), batch_of(golden("llama_batches")[objective])
    coarse, fine = (LOSSES[objective](Forward(model, float32=f), batch) for f in (False, True))
    assert (coarse.dtype, fine.dtype) == (torch.float16, torch.float32)
    assert fine.item() == pytest.approx(expected("llama", objective, "float32"), abs=5e-3)
    assert coarse.item() == pytest.approx(fine.item(), abs=1e-2) and fine.item() != coarse.item()


def test_train_loss_rules():
    """One batch under each rule: rows are all candidates for classification, else the gold one alone."""
    items, model = [s["data"] for s in golden("prompts")["SST2"]["samples"]], llama()
    seen = {}
    for name in ("task", "classification", "option", "lm"):
        prepared = PreparedTask(task("SST2"), splits(items, items, items), loaded(model), Rules(train_loss=name))
        batch = prepared.train_batch([0, 1, 2, 3])
        seen[name] = (batch.rows, prepared.loss(model, batch).item())
    assert seen["task"] == seen["classification"]
    assert [seen[name][0] for name in ("classification", "option", "lm")] == [8, 4, 4]
    assert len({seen[name][1] for name in ("classification", "option", "lm")}) == 3


def test_a_loss_over_all_positions_is_over_all_that_predict_a_token():
    """As MeZO computes it, which the baseline of the speed does too: every place but the last."""
    batch = SimpleNamespace(input_ids=torch.zeros(3, 9, dtype=torch.int64), width=4)
    assert (_width(batch, True), _width(batch, False)) == (8, 4)
