"""A card says what was declared, that the rest was not, and what of it was measured."""

from __future__ import annotations

from textwrap import dedent

import pytest

from zobench import Estimator
from zobench.cli import main
from zobench.cli.card import _grid, declared, facts, page
from zobench.plugins.registry import load_plugins

FILE = """
    from typing import ClassVar
    from zobench import Count, Estimator, Selector, hookimpl
    from zobench_plugins.estimators.mezo import MeZO
    from zobench_plugins.selectors.layer import Layer

    class Bare(Estimator):
        "Says nothing, has momentum, looks at a further batch."
        eps: float = 1e-3

        def setup(self):
            self.m, self.v = self.buffer("m"), self.buffer("v")

        def iterate(self, losses):
            z = self.noise()
            g = losses.slope(z, self.eps) * z + losses.fresh().slope(z, self.eps) * z
            self.m.assign(0.9 * self.m + g)
            self.v.assign(0.9 * self.v + g)
            self.descend(self.m + self.v)

    class Told(Bare):
        verified: ClassVar[bool | None] = False
        forwards_per_step: ClassVar[int | None] = 2
        extra_forwards_per_step: ClassVar[float] = 2.0
        state_per_parameter: ClassVar[float] = 2.0
        reference: ClassVar[str] = "ours"

        def iterate(self, losses):
            super().iterate(losses)

    class Heir(MeZO):
        "MeZO's settings, another algorithm: none of MeZO's facts are its own."

        def iterate(self, losses):
            self.descend(losses.slope(self.noise("rademacher"), self.eps) * self.noise())

    class Same(MeZO):
        "MeZO under another name."

    class Broken(Estimator):
        "Cannot run."

        def iterate(self, losses):
            raise RuntimeError("no\\nidea")

    class Look(Selector):
        "Looks three times."

        def select(self, context):
            for batch in context.calibration(3, 4):
                context.loss(batch)
            return context.layers(1)

    class Other(Layer):
        def select(self, context):
            return context.layers(0)

    @hookimpl
    def zobench_estimators():
        return {"bare": Bare, "told": Told, "heir": Heir, "same": Same, "broken": Broken}

    @hookimpl
    def zobench_selectors():
        return {"look": Look, "other": Other}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(dedent(FILE))
    return path


@pytest.fixture
def card(file):
    found = load_plugins([file], only="")
    return lambda kind, name: facts(found.get(kind, name))


def test_what_nobody_declared_is_told_as_such_and_measured(card):
    bare = card("estimators", "bare")
    assert [bare[key] for key in ("reference", "public code", "verified")] == ["not declared"] * 3
    by = "not declared; measured in 4 steps of a small MLP:"
    assert bare["forwards"] == f"{by} 2 a step" and bare["extra"] == f"{by} 2 a step on further batches"
    assert bare["state"].startswith(f"{by} 8 bytes a parameter")
    assert bare["lr"].startswith("not declared; a run tries 1e-7, ")


def test_what_is_declared_is_shown_as_it_was(card):
    told = card("estimators", "told")
    assert told["verified"].startswith("no: a detail is a guess") and told["reference"] == "ours"
    assert told["forwards"] == "2 a step at the default settings" and told["state"].startswith("8 bytes a parameter")
    assert told["extra"] == "2 forwards a step on further batches" and told["public code"] == "not declared"


def test_the_facts_of_a_base_are_not_those_of_another_algorithm(card):
    heir, same = card("estimators", "heir"), card("estimators", "same")
    assert heir["verified"] == heir["reference"] == "not declared" and "measured" in heir["forwards"]
    assert same["verified"] == "yes: no detail is a guess" and "Malladi" in same["reference"]
    assert card("selectors", "other")["verified"] == "not declared"


def test_what_cannot_be_measured_says_why_in_one_line(card):
    assert card("estimators", "broken")["state"].startswith(
        "not declared, and not measured: RuntimeError: no idea (mine.py:"
    )


def test_selectors(card):
    look = card("selectors", "look")
    assert look["verified"] == "not declared"
    assert look["forwards"] == "not declared; measured in a small LLaMA of 4 decoder blocks: 3 to select"
    both = load_plugins(only="").selector("first_outlier+layer:3")
    assert facts(both)["verified"].startswith("yes") and facts(both)["forwards"] == "those of its parts"
    unsure = load_plugins(only="").selector("ist+layer:3")
    assert facts(unsure)["verified"].startswith("no")


def test_the_table_and_the_commands_say_the_same(file, capsys):
    assert main(["ls", "estimators", "--markdown", "--plugin", str(file)]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| `bare`"))
    assert row.count("not declared") == 5, row
    assert main(["show", "estimator", "bare", "--plugin", str(file)]) == 0
    assert "verified     not declared" in capsys.readouterr().out


def test_every_built_in_declares_all_of_its_card():
    found = load_plugins(only="")
    for kind in ("estimators", "selectors"):
        for name in found.names(kind):
            said = facts(found.get(kind, name))
            assert not [key for key, text in said.items() if "not declared" in text and key != "lr"], name
            assert declared(found.get(kind, name), "verified")


def test_a_page_of_several_kinds_has_a_heading():
    both, one = (page(load_plugins(only=""), kinds) for kinds in (("estimators", "selectors"), ("selectors",)))
    assert both.startswith("# Methods\n\nMade by `") and "\n\n## Estimators\n\n" in both
    assert one.startswith("## Selectors\n\n") and one in both


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({}, "not declared; a run tries "),
        ({"lr_grid": (1e-6, 1e-5)}, "1e-6, 1e-5; small runs: "),
        ({"small_lrs": (1e-5,)}, "; small runs: 1e-5"),
        ({"lr_grid": (1e-5,), "small_lrs": (1e-5,)}, "1e-5"),
    ],
)
def test_rates_are_declared_by_either_grid(own, said):
    made = _grid(type("Mine", (Estimator,), own))
    assert said in made and ("not declared" in made) is (own == {})
