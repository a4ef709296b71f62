"""Rows in their shared form give the numbers of the rows themselves: losses, scores, predictions, answers."""

import copy
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from kits.matrix import covering
from kits.task_kit import NEW_TOKENS, golden, llama, loaded, opt, splits, task
from torch.func import functional_call, vmap
from transformers import GPT2Config, GPT2LMHeadModel

from zobench.protocol.protocol import Computation
from zobench.tasks import score
from zobench.tasks.batch import Stem, collate, share, stems
from zobench.tasks.encode import Encoded, Row
from zobench.tasks.kinds.generation import room
from zobench.tasks.loss import option_log_probs
from zobench.tasks.prepared import PreparedTask
from zobench.tasks.rules import Rules

PROMPTS = golden("prompts")
CHOICE = [name for name, value in PROMPTS.items() if not value["generation"]]
FREE = [name for name, value in PROMPTS.items() if value["generation"]]


def gpt2():
    """A model that must be told the places of padded rows."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=512, n_positions=512, n_embd=32, n_layer=2, n_head=2, initializer_range=0.2)
    return GPT2LMHeadModel(config).double().eval().requires_grad_(False)


MODELS = {"llama": lambda: llama(torch.float64), "opt": opt, "gpt2": gpt2}


def exactness(model):
    """Weights are float64, but LLaMA's angles are float32: its rows round otherwise where padding moves them."""
    return 2e-6 if model.config.model_type == "llama" else 1e-10


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return MODELS[request.param]()


def prepared(name, model, rows="shared", **rules):
    items = [s["data"] for s in PROMPTS[name]["samples"]]
    rules, dtype = Rules(max_new_tokens=NEW_TOKENS, **rules), model.dtype
    held = loaded(model.to(torch.float32 if dtype == torch.float64 else dtype))
    model.to(dtype)
    return PreparedTask(task(name), splits(items, items, items, items), held, rules, rows)


def calls(model):
    """The sizes of the ids that the model was called on from here on."""
    seen = []
    model.register_forward_pre_hook(lambda m, args, kw: seen.append(tuple(kw["input_ids"].shape)), with_kwargs=True)
    return seen


# ---- stems


def test_options_of_one_token_share_the_prompt():
    rows = [Row((1, 5, 6, 7), 1), Row((1, 5, 6, 8), 1), Row((1, 4, 6, 7), 1)]
    assert stems(rows) == [Stem((1, 5, 6), (0, 1)), Stem((1, 4, 6), (2,))]


def test_a_longer_option_holds_the_shorter_ones():
    """Yes, No and May-be: what the last one takes begins with what the others take."""
    rows = [Row((1, 5, 7), 1), Row((1, 5, 9), 1), Row((1, 5, 8, 6), 2)]
    assert stems(rows) == [Stem((1, 5, 8), (0, 1, 2))]


def test_options_of_several_tokens_stay_apart():
    rows = [Row((1, 5, 7, 2), 2), Row((1, 5, 9, 2), 2)]
    assert stems(rows) == [Stem((1, 5, 7), (0,)), Stem((1, 5, 9), (1,))]


def test_a_beginning_is_found_among_many():
    """Its extensions are not its neighbours in the list, nor where whole rows are sorted."""
    rows = [Row((1, 2, 9), 1), Row((1, 3, 4), 1), Row((1, 2, 3, 1), 1), Row((1, 2, 3, 4, 5), 1), Row((1, 9), 1)]
    assert stems(rows) == [Stem((1, 2, 3, 4), (0, 2, 3, 4)), Stem((1, 3), (1,))]


def test_places_and_targets():
    shared = share([Row((1, 5, 7), 1), Row((1, 5, 8, 6), 2), Row((4, 3), 1)], 0, 4)
    assert shared.input_ids.tolist() == [[0, 1, 5, 8], [0, 0, 0, 4]]
    assert shared.attention_mask.tolist() == [[0, 1, 1, 1], [0, 0, 0, 1]]
    assert (shared.last, shared.stem.tolist()) == (2, [[0], [0], [1]])
    assert shared.targets.tolist() == [[0, 7], [8, 6], [0, 3]]
    assert shared.inside.tolist() == [[False, True], [True, True], [False, True]]
    assert [row[-1] for row in shared.place.tolist()] == [0, 1, 1] and shared.place[1, 0] == 0
    long = Row(tuple(range(60)), 1)
    assert share([long], 0, 8, most=60).input_ids.shape == (1, 60)
    batch = collate([Encoded((long,), 0, (0,), (), "")], 0, 8, 60, shared=8)
    assert batch.shared.input_ids.shape == batch.input_ids.shape == (1, 60), "no more than the model has places"


# ---- losses


@pytest.mark.parametrize(("name", "model"), covering(CHOICE, MODELS), indirect=["model"])
def test_log_probabilities_are_those_of_the_rows(name, model):
    made = prepared(name, model)
    rows = [row for encoded, _ in made._scored["test"] for row in encoded.rows]
    got = share(rows, made.pad_id, 8).log_probs(made.forward)
    plain = collate([Encoded(tuple(rows), None, (), (), "")], made.pad_id)
    expected, inside = option_log_probs(made.forward, plain)
    assert inside.any(-1).all() and torch.allclose(got, expected, rtol=0, atol=exactness(model))


@pytest.mark.parametrize(
    ("model", "name", "rules"),
    covering(MODELS, ["SST2", "RTE", "CB"], [{}, {"pad_targets": "drop"}, {"logits": "all"}]),
    ids=str,
    indirect=["model"],
)
def test_the_training_loss(name, rules, model):
    """Options of several tokens, of one, and of both; in one batch and on dev, with the gradient of every weight."""
    made = prepared(name, model, train_loss="classification", eval_batch_size=3, **rules)
    batch, plain = made.train_batch([2, 0, 1]), made.replicated().train_batch([2, 0, 1])
    assert torch.equal(batch.input_ids, plain.input_ids) and plain.shared is None and batch.replicated().shared is None
    assert made.loss(model, batch).item() == pytest.approx(made.loss(model, plain).item(), abs=exactness(model))
    assert made.dev_loss(model).value == pytest.approx(made.replicated().dev_loss(model).value, abs=exactness(model))
    assert made.dev_loss(model).forwards == made.replicated().dev_loss(model).forwards == 2
    weights = dict(model.named_parameters())

    def gradient(of):
        leaves = {n: w.detach().requires_grad_() for n, w in weights.items()}
        made.loss(lambda **kw: functional_call(model, leaves, (), kw), of).backward()
        return [w.grad for w in leaves.values()]

    pairs = zip(gradient(batch), gradient(plain), strict=True)
    assert all(torch.allclose(a, b, rtol=0, atol=exactness(model)) for a, b in pairs)


def test_float32_and_its_rounding():
    one = llama()
    made = prepared("RTE", one)
    batch = made.train_batch(range(4))
    losses = [made.loss(one, b) for b in (batch, batch.replicated())]
    assert losses[0].dtype == torch.float32 and losses[0].item() == pytest.approx(losses[1].item(), abs=2e-6)


@pytest.mark.parametrize(("loss_dtype", "dtype"), [("model", torch.float16), ("float32", torch.float32)])
def test_the_loss_dtype_holds(loss_dtype, dtype):
    half = llama(torch.float16)
    made = prepared("CB", half, loss_dtype=loss_dtype)
    batch = made.train_batch(range(4))
    got, plain = made.loss(half, batch), made.loss(half, batch.replicated())
    assert got.dtype == plain.dtype == dtype and got.item() == pytest.approx(plain.item(), abs=1e-2)


def test_under_vmap():
    one = llama(torch.float64)
    made = prepared("CB", one)
    batch, weights = made.train_batch(range(4)), dict(one.named_parameters())
    both = {name: torch.stack([w, w * 1.1]) for name, w in weights.items()}
    together = vmap(lambda w: made.loss(lambda **kw: functional_call(one, w, (), kw), batch))(both)
    for value, weight in zip(together, (1.0, 1.1), strict=True):
        alone = made.loss(
            lambda f=weight, **kw: functional_call(one, {n: w * f for n, w in weights.items()}, (), kw), batch
        )
        assert value.item() == pytest.approx(alone.item(), rel=1e-12)


def test_the_forward_passes_over_prompts_alone():
    one = llama()
    made, seen = prepared("RTE", one), calls(one)
    batch = made.train_batch(range(4))
    longest = max(len(row.ids) for encoded in made._train for row in encoded.rows)
    made.loss(one, batch)
    made.loss(one, batch.replicated())
    assert seen == [(4, longest - 1), (8, -(-longest // 8) * 8)]


def test_tasks_that_train_on_one_row_leave_out_its_last_token():
    for name in ("Copa", "SQuAD"):
        batch = prepared(name, llama()).train_batch([0, 1])
        assert batch.rows == len(batch.shared.stems) == 2 and batch.shared.tokens == batch.tokens - 2


def test_a_batch_moves_whole():
    batch = prepared("RTE", llama()).train_batch([0, 1]).to("meta")
    assert {t.device.type for t in vars(batch.shared).values() if isinstance(t, torch.Tensor)} == {"meta"}
    assert batch.input_ids.device.type == "meta" and batch.shared.last == 1


# ---- scoring


@pytest.mark.parametrize(
    ("model", "name", "scoring"), covering(MODELS, CHOICE, ["mean", "sfc", "icl_sfc"]), indirect=["model"]
)
def test_predictions_are_those_of_rows_alone(name, scoring, model):
    rules = {"scoring": scoring, "demonstrations": 1 if scoring == "icl_sfc" else 0, "eval_batch_size": 3}
    made, seen, told = prepared(name, model, **rules), calls(model), []
    score = made.test_score(model, lambda done, total: told.append((done, total)))
    assert score.forwards == len(seen) == made.scoring_forwards("test")
    plain = made.replicated()
    expected = plain.test_score(model)
    assert score.predictions == expected.predictions and score.items == expected.items
    assert expected.forwards == len(seen) - score.forwards == plain.scoring_forwards("test") > score.forwards
    assert told[-1] == (4, 4) and told == sorted(told)
    assert made.dev_score(model).predictions == expected.predictions
    model._forward_pre_hooks.clear()
    model._forward_pre_hooks_with_kwargs.clear()


@pytest.mark.parametrize("name", ["RTE", "ReCoRD"])
def test_scores_in_float32(name):
    from zobench.tasks.score import Scorer

    one = llama()
    made = prepared(name, one)
    together, alone = (Scorer(made.forward, made.rules, 0, "cpu", together=n) for n in (5, 0))
    for encoded, _ in made._scored["test"]:
        assert together.scores(encoded) == pytest.approx(alone.scores(encoded), abs=5e-6)
        assert together.rows(encoded.rows)[0] == pytest.approx(alone.rows(encoded.rows)[0], abs=5e-5)


def test_items_of_a_split_are_batched_by_length():
    one = llama()
    made, seen = prepared("RTE", one, eval_batch_size=2), calls(one)
    made.test_score(one)
    lengths = sorted((len(e.rows[0].ids) - 1 for e, _ in made._scored["test"]), reverse=True)
    assert seen == [(2, lengths[0]), (2, lengths[2])]
    seen.clear()
    again = prepared("RTE", one, eval_batch_size=2, score_batch_size=4)
    seen.clear()
    again.test_score(one)
    assert seen == [(4, lengths[0])]


def test_short_rows_are_scored_by_tokens():
    """As many as have so many tokens with their padding, and no fewer than without; the same predictions."""
    one = llama()
    made, seen = prepared("RTE", one, eval_batch_size=1), calls(one)
    expected = made.test_score(one)
    lengths = sorted((len(e.rows[0].ids) - 1 for e, _ in made._scored["test"]), reverse=True)
    by_tokens = made.scoring_in("tokens")
    for most, sizes in ((1, [1, 1, 1, 1]), (2 * lengths[0], [2, 2]), (10_000, [4])):
        seen.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("zobench.tasks.prepared.SCORED_TOKENS", most)
            score = by_tokens.test_score(one)
            assert score.forwards == by_tokens.scoring_forwards("test") == len(sizes)
        assert [rows for rows, _ in seen] == sizes and score.predictions == expected.predictions
    assert made.replicated().scoring_in("tokens").tokens_together == 0  # as MeZO scores


def test_nan_weights_score_nan():
    one = llama()
    one.lm_head.weight.fill_(math.nan)
    for name in ("RTE", "SQuAD"):
        score = prepared(name, one).test_score(one)
        assert all(math.isnan(x) for x in (*score.items, score.value)) and set(score.predictions) == {-1}


# ---- generation


@pytest.mark.parametrize(("name", "cache", "model"), covering(FREE, [True, False], MODELS), indirect=["model"])
def test_answers_are_those_of_prompts_alone(name, cache, model):
    made, told = prepared(name, model, eval_batch_size=3), []
    assert made.forward.cache is not None
    made.forward = replace(made.forward, cache=made.forward.cache if cache else None)
    score = made.test_score(model, lambda done, total: told.append((done, total)))
    expected = made.replicated().test_score(model)
    assert score.predictions == expected.predictions and len(set(score.predictions)) > 1
    assert score.items == expected.items and told == [(3, 4), (4, 4)]
    assert score.forwards <= made.scoring_forwards("test") == 2 * NEW_TOKENS
    assert score.forwards < expected.forwards <= made.replicated().scoring_forwards("test") == 4 * NEW_TOKENS


def test_a_row_that_is_done_says_no_more():
    """The stop token of one row comes early; the rows beside it go on to theirs."""
    one = llama()
    made = prepared("SQuAD", one, eval_batch_size=4)
    alone = copy.copy(made)
    alone.rows = "replicated"
    first = {row[2] for row in generated(alone, one)}
    made.stop = alone.stop = made.stop | first
    mine = generated(made, one)
    assert mine == generated(alone, one) and {len(row) for row in mine} != {NEW_TOKENS}


@pytest.mark.parametrize("cache", [True, False])
def test_rows_that_are_done_leave_the_batch(cache):
    one = llama()
    made = prepared("SQuAD", one, eval_batch_size=4)
    alone = made.replicated()
    first = sorted({row[1] for row in generated(alone, one)})[:2]
    made.stop = alone.stop = made.stop | frozenset(first)
    made.forward = replace(made.forward, cache=made.forward.cache if cache else None)
    expected, seen = generated(alone, one), calls(one)
    assert generated(made.scoring_in("tokens"), one) == expected
    assert seen[0][0] == 4 and seen[-1][0] < 4


def generated(made, model):
    from zobench.tasks.generate import answers

    prompts = [encoded.rows[0].ids for encoded, _ in made._scored["test"]]
    given = {"room": partial(room, made), "stop": made.stop, "pad_id": 0, "device": "cpu"}
    return answers(made.forward.through(model), prompts, together=made.together, tokens=made.tokens_together, **given)[
        0
    ]


# ---- what one forward scores


def test_on_a_cpu_in_float32_items_are_scored_by_tokens_if_nothing_is_said():
    full = prepared("RTE", llama(), "packed").scoring_in("auto")
    assert full.scored_in == "tokens" and full.tokens_together > 0
    assert prepared("RTE", llama().half()).scoring_in("auto").scored_in == "rows"
    assert prepared("RTE", llama(), "replicated").scoring_in("auto").tokens_together == 0
    said = [Computation(scored_in=by).record() for by in ("auto", "rows")]
    assert said[0] == said[1] and "scored_in" not in said[0]
    assert Computation(scored_in="tokens").record()["scored_in"] == "tokens"


@pytest.mark.parametrize("scoring", ["mean", "sfc"])
def test_packed_rows_score_as_rows_do_and_are_laid_out_once(scoring, monkeypatch):
    one = llama()
    made = prepared("CB", one, "packed", scoring=scoring)
    by_rows = made.scoring_in("rows").test_score(one)
    laid, pack = [], score.pack
    monkeypatch.setattr(score, "pack", lambda *args: laid.append(args) or pack(*args))
    by_tokens = [made.scoring_in("tokens").test_score(one) for _ in range(2)]
    assert (
        len(laid)
        == by_tokens[0].forwards
        == by_tokens[1].forwards
        == made.scoring_in("tokens").scoring_forwards("test")
    )
    assert by_tokens[0].predictions == by_tokens[1].predictions == by_rows.predictions
    scorers = [made.scoring_in(by).scorer(made.forward) for by in ("rows", "tokens")]
    for some, others in zip(*(s.every(made._scored["test"]) for s in scorers), strict=True):
        assert some == pytest.approx(others, abs=2e-5)


def test_rows_of_512_tokens_are_scored_together():
    assert prepared("RTE", llama()).scoring_in("tokens").tokens_together == 512
