"""The examples of a batch, each alone: how they are counted, logged and replayed."""

import pytest
import torch
from kits.toy_runs import ENGINES, Net, Run, cross_entropy, same

from zobench import Estimator, Objective, Positive


class Each(Estimator):
    """A direction of its own for every example."""

    eps: Positive = 1e-3

    def iterate(self, losses):
        one, *rest = losses.examples()
        z, shown = self.noise(), None
        for example in (one, *rest):
            d = z * self.noise("rademacher")
            lp, lm = example(self.eps * d, -self.eps * d)
            shown = lp if shown is None else shown
            self.descend((lp - lm) / (2 * self.eps) * d)
        return shown


def split(batch):
    return list(zip(batch[0].split(1), batch[1].split(1), strict=True))


def started(engine="flat"):
    run = Run(Each, engine=engine)
    run.objective = lambda step: Objective(
        run.model, cross_entropy, run.batch(step), batched=False, examples=lambda: split(run.batch(step))
    )
    return run


def test_each_example_has_its_own_loss_and_the_batchs_is_their_mean():
    model, batch = Net().double(), (torch.randn(4, 6).double(), torch.tensor([0, 1, 2, 0]))
    whole = Objective(model, cross_entropy, batch, examples=lambda: split(batch))
    alone = [one() for one in whole.examples()]
    assert len({float(loss) for loss in alone}) == 4
    assert float(torch.stack(alone).mean()) == pytest.approx(float(whole()))


def test_forwards_of_the_examples_count_as_one_of_the_batch():
    run = started()
    run.go(3)
    assert run.opt.forwards == {"train": 6}
    assert [len(r.seen) for r in run.opt.log] == [1 + 2 * 5] * 3, "the number of examples, and all losses"


@pytest.mark.parametrize("engine", ENGINES)
def test_they_are_replayed_from_the_log(engine):
    run, again = started(engine), started(engine)
    run.go(3)
    weights = run.weights()
    assert not same(weights, run.start)
    again.opt.replay(run.opt.log)
    assert same(weights, again.weights()) and not any(again.opt.forwards.values())


def test_who_cannot_split_says_so():
    run = started()
    with pytest.raises(TypeError, match=r"Each needs objective.examples\(...\), which a plain closure has not"):
        run.opt.step(lambda: torch.tensor(1.0))
    with pytest.raises(RuntimeError, match="cannot be split: Objective"):
        run.opt.step(Objective(run.model, cross_entropy, run.batch(0)))


class EachOfFresh(Estimator):
    """A direction of its own for every example of two further batches."""

    eps: Positive = 1e-3

    def iterate(self, losses):
        shown = losses.base()
        further = losses.fresh()
        for example in (*further.examples(), *further.fresh().examples()):
            z = self.noise("rademacher")
            self.descend(example.slope(z, self.eps) * z)
        return shown


def test_a_further_batch_has_its_own_examples():
    model, run = Net().double(), Run()
    first, second, third = (run.batch(k) for k in range(3))
    whole = Objective(model, cross_entropy, first, iter([second, third]), examples=split)
    further = whole.fresh()
    alone = [float(one()) for one in further.examples()]
    assert alone == [cross_entropy(model, one).item() for one in split(second)]
    assert float(further.examples()[1].fresh()()) == float(cross_entropy(model, third)), "the same source of batches"


def test_nothing_is_dropped_on_the_way():
    class Mine(Objective):
        pass

    run = Run()
    whole = Mine(run.model, cross_entropy, run.batch(0), iter([run.batch(1)]), False, lambda b: b, examples=split)
    for derived in (whole.fresh(), whole.examples()[0], whole.examples()[0].examples()[0]):
        assert type(derived) is Mine
        kept = {k: v for k, v in vars(whole).items() if k not in ("batch", "_examples")}
        assert {k: vars(derived)[k] for k in kept} == kept
    (itself,) = whole.examples()[2].examples()
    assert float(itself()) == float(whole.examples()[2]())
    with pytest.raises(RuntimeError, match="at its end"):
        whole.fresh()


def test_examples_of_one_batch_are_not_taken_for_those_of_another():
    run = Run()
    batch = run.batch(0)
    for examples in (lambda: split(batch), lambda own=batch: split(own)):
        told = Objective(run.model, cross_entropy, run.batch(0), iter([run.batch(1)]), examples=examples)
        assert [len(one.batch[0]) for one in told.examples()] == [1] * 5
        with pytest.raises(RuntimeError, match="function of a batch"):
            told.fresh().examples()


def test_examples_of_further_batches_pass_the_battery():
    from zobench.testing import check_estimator

    report = check_estimator(EachOfFresh, engines=["flat", "pair"], problems=["mlp"])
    assert {f.passed for f in report.of("V5")} == {True}
