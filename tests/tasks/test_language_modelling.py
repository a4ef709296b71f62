"""Language modelling: a text's mean log-probability, its rows, and the loss that transformers trains on."""

import math

import pytest
import torch
from kits.task_kit import llama, loaded, splits, tokenizer

from zobench.errors import ZobenchError
from zobench.tasks.encode import Encoder
from zobench.tasks.prepared import PreparedTask
from zobench.tasks.render import render_task
from zobench.tasks.rules import Rules
from zobench.tasks.task import Task

FILE = """
name = "prose"
version = 1
title = "Prose"
kind = "language_modelling"
metric = "log_prob"
train_loss = "option"
num_dev = 2

[source]
folder = "prose"
fields = ["topic", "text"]

[template]
prompt = ""
text = "{{ text }}"
"""
PROMPTED = FILE.replace('prompt = ""', 'prompt = "{{ topic }}:"').replace('"{{ text }}"', '"{{ prompt }} {{ text }}"')
ITEMS = [
    {"topic": "Film", "text": text}
    for text in (
        "the film is a delight from end to end",
        "  too long by half .\n",
        "a slow , sad and lovely thing",
        "no",
    )
]


def own(tmp_path, source=FILE) -> Task:
    (tmp_path / "prose.toml").write_text(source)
    return Task.load(tmp_path / "prose.toml")


def prepared(tmp_path, model, source=FILE, rows="replicated", kind="bos", **rules):
    made = splits(ITEMS, ITEMS[:2], ITEMS)
    return PreparedTask(own(tmp_path, source), made, loaded(model, kind), Rules(**rules), rows=rows)


@pytest.fixture(scope="module")
def model():
    return llama()


def by_transformers(model, rows) -> torch.Tensor:
    """The loss of rows of ids as transformers' own language model has it, padded on the right."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100)).loss


def test_without_a_prompt_every_token_counts_that_has_one_before_it(tmp_path):
    task = own(tmp_path)
    for kind, given in (("bos", [1]), ("nobos", [])):
        encoder, bare = Encoder(tokenizer(kind)), tokenizer(kind)
        for item in ITEMS[:3]:
            (row,) = encoder.encode(task.render(item)).rows
            assert list(row.ids) == given + bare.encode(item["text"].strip(), add_special_tokens=False)
            assert row.option_len == len(row.ids) - 1 and row.stable
            assert encoder.encode(task.render(item), training=True, only_gold=True).rows == (row,)


def test_after_a_prompt_only_the_text_counts(tmp_path):
    encoder, task = Encoder(tokenizer()), own(tmp_path, PROMPTED)
    (row,) = encoder.encode(task.render(ITEMS[0])).rows
    assert row.ids == tuple(tokenizer().encode("Film: the film is a delight from end to end"))
    assert row.option_len == len(row.ids) - len(tokenizer().encode("Film:"))


@pytest.mark.parametrize("rows", ["replicated", "shared", "packed"])
@pytest.mark.parametrize("kind", ["bos", "nobos"])
def test_the_loss_is_that_of_transformers(tmp_path, model, rows, kind):
    made = prepared(tmp_path, model, rows=rows, kind=kind, max_length=256)
    indices = range(4 if kind == "bos" else 3)
    ids = [list(made._train[i].rows[0].ids) for i in indices]
    assert len({len(row) for row in ids}) > 1
    torch.testing.assert_close(made.loss(model, made.train_batch(indices)), by_transformers(model, ids))
    torch.testing.assert_close(made.loss(model, made.train_batch([2])), by_transformers(model, ids[2:3]))
    assert made.dev_loss(model).value == pytest.approx(float(by_transformers(model, ids[:2])), rel=1e-5)


def test_scores_are_mean_log_probabilities(tmp_path, model):
    alone = prepared(tmp_path, model)
    score = alone.test_score(model)
    expected = [-float(by_transformers(model, [e.rows[0].ids])) for e, _ in alone._scored["test"]]
    assert score.items == pytest.approx(expected, rel=1e-5) and len(set(score.items)) == 4
    assert score.metric == "log_prob" and score.value == pytest.approx(math.fsum(expected) / 4, rel=1e-5)
    spread = torch.tensor(score.items, dtype=torch.float64).std().item() / 2
    assert score.stderr == pytest.approx(spread) and score.predictions == []
    assert score.forwards == alone.scoring_forwards("test") == 4
    together = prepared(tmp_path, model, rows="shared", eval_batch_size=3)
    told = []
    other = together.test_score(model, lambda *at: told.append(at))
    assert other.items == pytest.approx(score.items, rel=1e-5)
    assert other.forwards == together.scoring_forwards("test") == 2 and told[-1] == (4, 4)


def test_what_gives_nan_scores_nan(tmp_path):
    broken = llama()
    broken.lm_head.weight.fill_(math.nan)
    score = prepared(tmp_path, broken).test_score(broken)
    assert all(math.isnan(x) for x in (score.value, *score.items))


def test_it_is_shown(tmp_path):
    shown = render_task(own(tmp_path, PROMPTED), ITEMS[:1], Encoder(tokenizer()))
    assert "  text: ' the film is a delight from end to end'" in shown and "(scored)" in shown


def test_a_text_that_has_no_room_is_refused_and_not_cut(tmp_path, model):
    with pytest.raises(ZobenchError, match="task prose: item 0.*a row has room for 8.*raise max_length"):
        prepared(tmp_path, model, max_length=8)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('text = "{{ text }}"', 'text = "{{ text }}"\nanswer = "text"', "template.answer does not fit kind"),
        ('text = "{{ text }}"', 'text = "{{ text }}"\ncandidates = ["a"]', "template.candidates does not fit kind"),
        (
            '"log_prob"',
            '"accuracy"',
            "needs kind 'classification' or 'multiple_choice'; use 'log_prob'",
        ),
        ('"option"', '"classification"', "needs train_loss 'option' and no"),
        (
            "[template]",
            '[sfc]\nprompt = ""\ntext = "x"\n\n[template]',
            "needs train_loss 'option' and no",
        ),
        ('"{{ text }}"', '"{{ candidate }}"', "candidate"),
    ],
)
def test_files_that_do_not_fit(tmp_path, old, new, message):
    with pytest.raises(ZobenchError, match=message):
        own(tmp_path, FILE.replace(old, new, 1)).render(ITEMS[0])


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"train_loss": "classification"}, "train_loss=classification needs candidates; use option"),
        ({"train_loss": "non_diff"}, "train_loss=non_diff is for generation tasks; use option"),
        ({"scoring": "sfc"}, "scoring=sfc needs candidates; use mean"),
        ({"scoring": "icl_sfc"}, "scoring=icl_sfc needs candidates; use mean"),
    ],
)
def test_rules_that_do_not_fit(tmp_path, model, rules, message):
    with pytest.raises(ZobenchError, match=message):
        prepared(tmp_path, model, **rules)
