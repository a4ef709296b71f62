"""hidden_probe: what it learns, from what, how it is chosen, and what it refuses; without a language model."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import cross_entropy, gelu
from zobench_plugins.estimators.hidden_probe import HiddenProbe, Probe, SplitStates

from zobench import FitContext, Question, Scope, ZobenchError
from zobench.testing import check_estimator

CHANNELS, DEPTHS = 6, 4  # hidden states of an embedding and four blocks
QUICK = {"epochs": 60, "rates": (3e-2,), "width": 8}


class World(FitContext):
    """Rows whose hidden states are made up: the last token decides, more and more clearly with depth until block 3.

    A row is (number of the question, ..., class of its last token); block 4 forgets everything, channel 5 never varies.
    """

    task, batch_size = "made_up", 4

    def __init__(self, kind, train, dev=()):
        self.kind, self._train, self._dev = kind, train, dev
        self.rows, self.calls, self.facts = [], 0, {}

    @property
    def train(self):
        return self._train

    @property
    def dev(self):
        return self._dev

    def forward(self, rows, **options):
        assert options == {"output_hidden_states": True} and len(rows) <= self.batch_size
        self.calls += 1
        self.rows += rows
        states = torch.stack([self.state(row) for row in rows])[:, None]  # (rows, 1, depths + 1, channels)
        wrong = torch.full_like(states, torch.nan)  # tokens before the last must not be looked at
        return SimpleNamespace(hidden_states=[torch.cat([wrong, states], 1)[:, :, k] for k in range(DEPTHS + 1)])

    @staticmethod
    def state(row):
        out = torch.randn(DEPTHS + 1, CHANNELS, generator=torch.Generator().manual_seed(hash(row) % 2**31))
        for depth, signal in enumerate((0.0, 0.2, 0.5, 6.0, 0.0)):
            out[depth, 0] += signal * row[-1]
            out[depth, 1] = 1000 + 100 * out[depth, 1]  # an outlier channel, of no use
            out[depth, 5] = 3.0
        return out

    def note(self, **facts):
        self.facts.update(facts)


def labelled(n, start=0, classes=3):
    """Prompts whose last token is their class."""
    out = []
    for i in range(start, start + n):
        prompt = (i, 7, i % classes)
        out.append((Question(prompt, tuple((*prompt, 50 + c) for c in range(classes))), i % classes))
    return out


def choices(n, start=0):
    """Two or three candidates; the last token of the right one is 1, of the others 0."""
    out = []
    for i in range(start, start + n):
        size, gold = 2 + i % 2, (i // 2) % 2
        out.append((Question((i, 7), tuple((i, 7, 60 + k, int(k == gold)) for k in range(size))), gold))
    return out


def probe(**settings):
    return HiddenProbe(Scope([("w", torch.nn.Parameter(torch.zeros(1)))]), lr=0.0, **{**QUICK, **settings})


def accuracy(answers, examples):
    given = answers([question for question, _ in examples])
    return sum(g == gold for g, (_, gold) in zip(given, examples, strict=True)) / len(examples)


@pytest.mark.parametrize(("kind", "make"), [("classification", labelled), ("multiple_choice", choices)])
def test_it_learns_takes_the_best_depth_on_dev_and_passes_once_over_the_data(kind, make):
    context = World(kind, make(60), make(20, 60))
    answers = probe(depths=(0.0, 0.5, 0.75, 1.0)).fit(context)
    assert context.facts["depth"] == 0.75 and 0 < context.facts["dev_loss"] < 0.4 and context.facts["epoch"] > 0
    rows = [row for q, _ in make(80) for row in ([q.prompt] if kind == "classification" else q.candidates)]
    assert context.rows == rows, "each row of train and dev once: prompts of classification, else candidates"
    assert context.calls == sum(-(-len(part) // 4) for part in split(make, kind))
    assert accuracy(answers, make(40, 200)) > 0.9


@pytest.mark.parametrize("rates", [(3e-2, 1e-9), (1e-9, 3e-2)])
def test_the_rate_that_did_best_is_told(rates):
    context = World("classification", labelled(60), labelled(20, 60))
    probe(depths=(0.0, 0.75), rates=rates).fit(context)
    assert context.facts["rate"] == 3e-2 and context.facts["depth"] == 0.75


def split(make, kind):
    """The rows of train and of dev."""
    for part in (make(60), make(20, 60)):
        yield [row for q, _ in part for row in ([q.prompt] if kind == "classification" else q.candidates)]


def test_a_question_alone_gets_the_answer_that_it_gets_among_others():
    answers = probe(depths=(0.75,)).fit(World("multiple_choice", choices(40), choices(10, 40)))
    questions = [q for q, _ in choices(9, 100)]
    assert answers(questions) == [answers([q])[0] for q in questions]


def test_dev_chooses_and_is_not_learnt_from():
    """With right answers in training and wrong ones on dev, a network that knows little is the best; with nothing to
    learn from in training, right answers on dev do not help."""
    wrong = [(q, (gold + 1) % 3) for q, gold in labelled(30, 60)]
    context = World("classification", labelled(60), wrong)
    probe(depths=(0.75,)).fit(context)
    assert context.facts["dev_loss"] > 0.95, (
        "about that of no knowledge, log 3: what it learns of training makes it worse"
    )
    same = [(q, 0) for q, _ in labelled(60)]
    answers = probe(depths=(0.75,)).fit(World("classification", same, labelled(30, 60)))
    assert accuracy(answers, labelled(60, 200)) < 0.5


def test_one_step_against_plain_torch():
    """Standardised states, one GELU layer, AdamW's first step: p - lr (sign-like + decay p)."""
    x = torch.randn(12, 1, 4, generator=torch.Generator().manual_seed(0))
    examples = [(Question((0,), ((0, 0), (0, 1))), i % 2) for i in range(12)]
    seen, made = SplitStates(x, examples), Probe(SplitStates(x, examples), 0, 2, 5)
    w1, b1, w2, b2 = (p.detach().clone().requires_grad_() for p in made.net.parameters())
    flat = x[:, 0]
    normal = (flat - flat.mean(0)) / ((flat - flat.mean(0)).square().mean(0)).sqrt()
    loss = cross_entropy(gelu(normal @ w1.T + b1) @ w2.T + b2, seen.gold)
    assert torch.allclose(cross_entropy(made.scores(x, seen.counts), seen.gold), loss, atol=1e-6)
    grads = torch.autograd.grad(loss, (w1, b1, w2, b2))
    made.learn(seen, seen, 1e-2, 0.1, 1)
    for p, old, g in zip(made.net.parameters(), (w1, b1, w2, b2), grads, strict=True):
        assert torch.allclose(p, old * (1 - 1e-3) - 1e-2 * g / (g.abs() + 1e-8), atol=1e-5)


def test_a_question_with_fewer_candidates_never_gets_one_that_is_not_there():
    x = torch.randn(5, 1, 3, generator=torch.Generator().manual_seed(1))
    examples = [(Question((0,), ((0, 1), (0, 2))), 1), (Question((1,), ((1, 1), (1, 2), (1, 3))), 2)]
    made = Probe(SplitStates(x, examples), 0, 0, 4)
    scores = made.scores(x, [2, 3]).detach()
    assert scores.shape == (2, 3) and float(scores[0, 2]) == -torch.inf and bool(scores[1].isfinite().all())
    assert made.learn(SplitStates(x, examples), SplitStates(x, examples), 1e-2, 1e-2, 5) < 1.0, (
        "its loss has a gradient"
    )


def test_it_is_the_same_at_every_seed_and_draws_from_no_global_stream():
    def facts(seed):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        context = World("classification", labelled(30), labelled(10, 30))
        probe(seed=seed).fit(context)
        assert torch.equal(before, torch.get_rng_state())
        return context.facts

    assert facts(0) == facts(1)


def test_generation_and_no_dev_are_refused_in_a_sentence():
    with pytest.raises(ZobenchError, match="chooses among candidates, and made_up is a generation task"):
        probe().fit(World("generation", [(Question((1, 2), ((1, 2),)), 0)]))
    with pytest.raises(ZobenchError, match="made_up has no dev items; set num_dev"):
        probe().fit(World("classification", labelled(3)))


def test_states_that_are_no_numbers_are_refused():
    class Broken(World):
        @staticmethod
        def state(row):
            return torch.full((DEPTHS + 1, CHANNELS), torch.inf)

    with pytest.raises(ZobenchError, match="no numbers; try another --dtype"):
        probe().fit(Broken("classification", labelled(3), labelled(3)))


@pytest.mark.parametrize(
    "setting",
    [
        {"depths": (1.5,)},
        {"depths": (-0.1, 0.5)},
        {"depths": ()},
        {"rates": (0.0,)},
        {"rates": (0.0, 1e-2)},
        {"rates": (-1e-3, 1e-2)},
        {"rates": (1e-3, float("inf"))},
        {"rates": ()},
        {"width": 0},
    ],
)
def test_wrong_settings_are_named(setting):
    with pytest.raises(ZobenchError, match=next(iter(setting))):
        probe(**setting)


def test_no_step_may_be_asked_of_it():
    assert check_estimator(HiddenProbe).passed
