"""Every registered estimator passes the whole battery; a new file is covered by being registered.

By default on pair, which leaves the weights alone, and one of each kind on another engine too; on another engine, by
turns, all take the same steps. Every third, and what brings adapters of its own, runs on the LLaMA. In the slow test
all run on all engines and both models.
What engines make of the words that estimators use is tested in tests/engine/.
"""

from __future__ import annotations

import importlib

import pytest
import torch
from zobench_plugins import estimators

from zobench.engine import ENGINES
from zobench.parameterisations import PARAMETERISATIONS
from zobench.testing import Moments, check_estimator
from zobench.testing.attempt import Case, distance
from zobench.testing.kit import TOLERANCE

NAMES = estimators.zobench_estimators()


def load(name):
    module, _, attribute = NAMES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def sparse(problem, settings):
    """g = (m z . grad) m z: the gradient where the mask is, and (|m| + 2) |m grad|^2."""

    def small(x):
        return x.abs() <= x.abs().flatten().kthvalue(round(0.25 * x.numel())).values

    mask = torch.cat([small(problem.w.detach()).flatten(), small(problem.v.detach())])
    grad = problem.gradient() * mask
    return Moments(grad, (int(mask.sum()) + 2) * float(grad @ grad))


def lozo(problem, settings):
    """Rows of U are independent given V, so that the moments are those of a Wishart matrix V V^T.

    d = U V^T on the matrix (m x n), z on the vector (k); g = (d . grad) d:
    E[g] = (r grad_W, grad_v), and E|g|^2 = A + r |W|^2 k + |v|^2 m n r + (k + 2) |v|^2, where
    A = E[(U V^T . W)^2 |U V^T|^2] = (m (r^2 n + 2 r) + 2 r (r + n + 1)) |W|^2.
    """
    (m, n), k, r = problem.w.shape, problem.v.numel(), settings.get("rank", 2)
    grad = problem.gradient()
    w2, v2 = float(grad[: m * n].square().sum()), float(grad[m * n :].square().sum())
    a = (m * (r * r * n + 2 * r) + 2 * r * (r + n + 1)) * w2
    mean = torch.cat([r * grad[: m * n], grad[m * n :]])
    return Moments(mean, a + r * w2 * k + v2 * m * n * r + (k + 2) * v2)


MOMENTS = {"sparse_mezo": sparse, "lozo": lozo}
SETTINGS = {"lozo": {"nu": 1}}  # V is drawn at every sample: the closed form averages over it


KINDS = (
    "mezo", "zo_adam", "hizoo", "lozo", "sparse_mezo", "adalezo", "mezo_svrg", "grzo", "agzo", "forward_grad", "pseuzo",
    "sgd", "lora_zo", "qzo", "dizo", "zero_shot",
)  # fmt: skip
"""Steps alone, state, curvature, held draws, masks, draws of blocks, further batches, single examples, activations,
derivatives, outputs, gradients, adapters, scales, another's step, no training.
"""


def by_turns(name):
    """One of the engines beside pair."""
    others = [engine for engine in ENGINES if engine != "pair"]
    return others[sorted(NAMES).index(name) % len(others)]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_battery(name):
    cls = load(name)
    inside = cls.parameterisation != "full" or sorted(NAMES).index(name) % 3 == 0
    engines = ["pair", by_turns(name)] if name in KINDS else ["pair"]
    assert_passes(cls, engines, ["mlp", "llama"] if inside else ["mlp"])


@pytest.mark.parametrize("name", [name for name in sorted(NAMES) if name not in KINDS and load(name).trains])
def test_another_engine_takes_the_same_steps(name):
    cls, engine = load(name), by_turns(name)
    ours, theirs = (Case(cls, {**cls.needs, **cls.exercise}, of, "mlp").run().weights() for of in ("pair", engine))
    assert distance(ours, theirs) < TOLERANCE, engine


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_battery_on_every_engine(name):
    assert_passes(load(name), list(ENGINES), ["mlp", "llama"])


def assert_passes(cls, engines, problems):
    report = check_estimator(cls, engines=engines, problems=problems)
    assert report.passed
    if cls.trains:
        assert {f.engine for f in report} >= set(engines), "every engine was tried"
        assert not any(f.passed is None for f in report.of("V3")), "scope and masks apply to all"


@pytest.mark.parametrize("name", sorted(MOMENTS))
def test_closed_forms(name):
    check_estimator(load(name), engines=["pair"], problems=["mlp"], moments=MOMENTS[name], **SETTINGS.get(name, {}))


@pytest.mark.parametrize("name", sorted(NAMES))
def test_class_facts_for_the_card(name):
    cls = load(name)
    assert cls.reference and cls.__doc__ and len(cls.__doc__.split()) > 10
    said = " ".join(cls.__doc__.split())
    assert cls.forwards_per_step is not None or "Forwards a step: two for every block" in said
    assert cls.lr_grid and all(isinstance(lr, float) for lr in cls.lr_grid)
    assert cls.parameterisation in PARAMETERISATIONS
