"""Scores, predictions and generated answers, against MeZO's own on the same weights."""

import math
from types import SimpleNamespace

import pytest
import torch
from kits.matrix import named
from kits.task_kit import NEW_TOKENS, golden, llama, loaded, output, splits, task, tokenizer

from zobench.models.forward import Forward
from zobench.tasks.encode import Row
from zobench.tasks.generate import answers, greedy, stop_tokens
from zobench.tasks.kinds.generation import room
from zobench.tasks.prepared import PreparedTask
from zobench.tasks.rules import Rules
from zobench.tasks.score import Scorer

CHOICE = [name for name, value in golden("prompts").items() if not value["generation"]]
FREE = [name for name, value in golden("prompts").items() if value["generation"]]


def prepared(name, model, **rules):
    items = [s["data"] for s in golden("prompts")[name]["samples"]]
    return PreparedTask(
        task(name), splits(items, items, items), loaded(model), Rules(max_new_tokens=NEW_TOKENS, **rules)
    )


def scorer(model, **rules):
    return Scorer(Forward(model, keep=True, use_cache=True), Rules(**rules), 0, "cpu")


@pytest.fixture(scope="module")
def model():
    return llama()


@pytest.mark.parametrize("name", CHOICE)
def test_candidates(name, model):
    made, score = prepared(name, model), scorer(model)
    for sample, (encoded, _) in zip(golden("prompts")[name]["samples"], made._scored["test"], strict=True):
        expected = sample["bos"]
        sums, means = score.rows(encoded.rows)
        assert sums == pytest.approx(expected["sum"], abs=5e-5)
        assert means == pytest.approx(expected["scores_mean"], abs=5e-6)
        assert score.choose(encoded, None) == expected["prediction"]
        correct = expected["correct_id"]
        assert list(encoded.correct) == (correct if isinstance(correct, list) else [correct])


@pytest.mark.parametrize("name", named(CHOICE, ["Copa", "CB", "ReCoRD"]))
def test_a_split(name, model):
    samples, seen = golden("prompts")[name]["samples"], []
    score = prepared(name, model).test_score(model, lambda done, total: seen.append((done, total)))
    assert score.predictions == [s["bos"]["prediction"] for s in samples]
    right = [s["bos"]["correct_id"] for s in samples]
    hits = [float(p in (c if isinstance(c, list) else [c])) for p, c in zip(score.predictions, right, strict=True)]
    assert (score.metric, score.items, score.n, score.value) == ("accuracy", hits, 4, sum(hits) / 4)
    assert score.stderr == pytest.approx(math.sqrt(score.value * (1 - score.value) / 4))
    assert score.forwards == sum(len(s["candidates"]) for s in samples)
    assert seen == [(i, 4) for i in range(1, 5)]


@pytest.mark.parametrize("name", named(CHOICE, ["Copa", "CB", "ReCoRD"]))
def test_calibrated_scoring(name, model):
    made, score = prepared(name, model, scoring="sfc"), scorer(model, scoring="sfc")
    for sample, (encoded, sfc) in zip(golden("prompts")[name]["samples"], made._scored["dev"], strict=True):
        assert score.scores(encoded, sfc) == pytest.approx(sample["bos"]["sfc_scores"], abs=5e-5)
        assert score.choose(encoded, sfc) == sample["bos"]["sfc_prediction"]
    distinct = {row for _, sfc in made._scored["dev"] for row in sfc.rows}
    assert score.forwards == 2 * sum(len(e.rows) for e, _ in made._scored["dev"]) + len(distinct)


@pytest.mark.parametrize("name", FREE)
def test_generation(name, model):
    samples = golden("prompts")[name]["samples"]
    score = prepared(name, model).test_score(model)
    assert score.predictions == [s["bos"]["generated_text"] for s in samples]
    assert score.metric == "f1" and score.n == 4 and 4 <= score.forwards <= 4 * NEW_TOKENS


def test_several_rows_at_once_score_alike(model):
    """The batched switch differs in rounding only."""
    rows = prepared("ReCoRD", model)._scored["test"][0][0].rows
    one, many = scorer(model), scorer(model, score_batch_size=8)
    assert many.rows(rows)[1] == pytest.approx(one.rows(rows)[1], abs=5e-6)
    assert (one.forwards, many.forwards) == (len(rows), 1)


def test_float16_scores_are_rounded_once():
    """Mean of the float16 log-probabilities as torch takes it, not the rounded sum divided."""
    model = llama(torch.float16)
    rows = [row for e, _ in prepared("ReCoRD", model)._scored["test"] for row in e.rows]
    expected = []
    for row in rows:
        ids = torch.tensor([row.ids])
        log_probs = model(ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[-row.option_len :, 0]
        expected.append((log_probs.sum().item(), log_probs.mean().item()))
    sums, means = scorer(model).rows(rows)
    assert list(zip(sums, means, strict=True)) == expected


def test_ties_go_to_the_first_and_nan_to_none(model):
    encoded = prepared("CB", model)._scored["test"][0][0]
    flat = lambda value: lambda **kw: output(torch.full((*kw["input_ids"].shape, 512), value))  # noqa: E731
    assert Scorer(Forward(flat(0.0)), Rules(), 0, "cpu").choose(encoded, None) == 0
    assert Scorer(Forward(flat(math.nan)), Rules(), 0, "cpu").choose(encoded, None) is None


def test_nan_weights_score_nan_not_zero():
    model = llama()
    model.lm_head.weight.fill_(math.nan)
    for name in ("SST2", "SQuAD"):
        score = prepared(name, model).test_score(model)
        assert all(math.isnan(x) for x in (*score.items, score.value, score.stderr))
        assert math.isnan(prepared(name, model).dev_loss(model).value)


def test_demonstrations(model):
    """Fixed ones are the first training items; per item they are drawn by the seed of each item from the pool."""
    items = [s["data"] for s in golden("prompts")["Copa"]["samples"]]
    for rules in ({"demonstration_sets": "fixed"}, {"demonstration_sets": "per_item"}):
        made = PreparedTask(
            task("Copa"), splits(items, items, items, items), loaded(model), Rules(demonstrations=2, **rules)
        )
        longer = [len(e.rows[0].ids) for e, _ in made._scored["test"]]
        bare = [len(e.rows[0].ids) for e, _ in prepared("Copa", model)._scored["test"]]
        assert all(a > b + 20 for a, b in zip(longer, bare, strict=True))
    kept = PreparedTask(
        task("Copa"), splits(items, items, items, items), loaded(model), Rules(demonstrations=2, scoring="icl_sfc")
    )
    dropped = PreparedTask(
        task("Copa"), splits(items, items, items, items), loaded(model), Rules(demonstrations=2, scoring="sfc")
    )
    before, after = kept._scored["test"][0][1].rows[0], dropped._scored["test"][0][1].rows[0]
    assert len(before.ids) > len(after.ids) + 20 and before.option_len == after.option_len


# ---- greedy decoding


def test_greedy_agrees_with_transformers(model):
    """A left-padded batch, with and without the cache, against GenerationMixin."""
    ids = torch.tensor([[0, 0, 0, 1, 40, 41], [1, 60, 61, 62, 63, 64]])
    mask = (ids != 0).long()
    theirs = model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=8, eos_token_id=2, pad_token_id=0)
    own = Forward.of(loaded(model))
    assert own.cache is not None
    for forward in (own, Forward(model)):
        ours, forwards = greedy(forward, ids, mask, limit=8, stop=frozenset({2}))
        assert [torch.tensor(row).tolist() for row in ours] == [
            row[: len(o)].tolist() for row, o in zip(theirs[:, 6:], ours, strict=True)
        ]
        assert forwards == max(map(len, ours)) == 8


def test_greedy_stops_each_row_at_its_own_token():
    script = torch.tensor([[5, 7, 9, 9], [5, 5, 5, 7]])

    def forward(input_ids, **_):
        logits = torch.zeros(2, input_ids.shape[1], 10)
        for row in range(2):
            logits[row, -1, script[row, input_ids.shape[1] - 2]] = 1.0
        return output(logits)

    rows, forwards = greedy(Forward(forward), torch.ones(2, 2, dtype=torch.long), None, limit=9, stop=frozenset({7}))
    assert (rows, forwards) == ([[5, 7], [5, 5, 5, 7]], 4)
    rows, forwards = greedy(Forward(forward), torch.ones(2, 2, dtype=torch.long), None, limit=3, stop=frozenset({7}))
    assert (rows, forwards) == ([[5, 7], [5, 5, 5]], 3)


def test_a_row_that_is_no_number_is_waited_for_no_longer():
    def forward(input_ids, **_):
        logits = torch.zeros(2, input_ids.shape[1], 10)
        logits[0] = math.nan
        logits[1, -1, 7 if input_ids.shape[1] == 3 else 5] = 1.0
        return output(logits)

    found = greedy(Forward(forward), torch.ones(2, 2, dtype=torch.long), None, limit=9, stop=frozenset({7}))
    assert found == ([None, [5, 7]], 2)


def test_stop_tokens():
    assert stop_tokens(tokenizer()) == {tokenizer().encode("\n", add_special_tokens=False)[-1], 2}
    two = SimpleNamespace(encode=lambda text, add_special_tokens: [29871, 13], eos_token_id=2)
    assert stop_tokens(two) == {13, 2}, "of a line break in two tokens, as LLaMA's has, the last"


def test_an_answer_never_outgrows_the_context(model):
    made = prepared("SQuAD", model)
    assert [room(made, n) for n in (10, 2040, 2047)] == [NEW_TOKENS, 8, 1]


def test_rows_are_hashable():
    assert len({Row((1, 2), 1), Row((1, 2), 1), Row((1, 2), 2)}) == 2


def test_prompts_of_like_length_are_answered_together():
    widths = []

    class Says:
        padding = "masked"

        def next(self, ids, mask, past):
            widths.append(ids.shape[1])
            return torch.nn.functional.one_hot(ids[:, -1], 10).float(), None

    prompts = [(1, 2), (1, 2, 3, 4, 5, 6), (1, 3), (1, 2, 3, 4, 5, 7)]
    made, calls = answers(Says(), prompts, room=lambda length: 1, stop=frozenset(), pad_id=0, device="cpu", together=2)
    assert (widths, calls) == ([6, 2], 2) and made == [[2], [6], [3], [7]]
