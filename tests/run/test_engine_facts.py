"""What is known of an engine is said by its class alone: help, checks, docs and records follow from it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, get_args, get_type_hints

import pytest
from kits.run_kit import run

from zobench import Estimator
from zobench.cli import main
from zobench.directions.noise import NOISES
from zobench.engine import ENGINES, PRECISIONS, RESTORES, Engine, build, engine_class
from zobench.engine.flat import Flat
from zobench.errors import ZobenchError
from zobench.protocol.protocol import Computation, computation_from
from zobench.tasks.rules import RowsRule
from zobench.testing import check_estimator

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "engine.md").read_text(encoding="utf-8")
HINTS = get_type_hints(Computation)


class Toy(Flat):
    """In place, from a copy, in the weights' own dtype; its noise as it comes, over MeZO's rows."""

    name: ClassVar[str] = "toy"
    restores: ClassVar[tuple[str, ...]] = ("exact",)
    precisions: ClassVar[tuple[str, ...]] = ("native",)
    one_order: ClassVar[bool] = False
    replaces_weights: ClassVar[bool] = True
    replicates_rows: ClassVar[bool] = True
    prefix_cache: ClassVar[bool] = False


class Looker(Estimator):
    """MeZO, in a line."""

    forwards_per_step: ClassVar[int] = 2
    neutral: ClassVar[dict[str, float]] = {}

    def iterate(self, losses):
        z = self.noise()
        slope = losses.slope(z, 1e-3)
        self.descend(slope * z)


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(ENGINES, "toy", Toy)


def taken(name: str) -> dict[str, list[str]]:
    """The values of each setting that a run takes with this engine, found out by asking."""
    choices = {
        "restore": RESTORES,
        "precision": PRECISIONS,
        "noise": tuple(NOISES),
        "rows": get_args(RowsRule),
        "prefix_cache": get_args(HINTS["prefix_cache"]),
        "compile": get_args(HINTS["compile"]),
        "cuda_graphs": get_args(HINTS["cuda_graphs"]),
    }
    found: dict[str, list[str]] = {setting: [] for setting in choices}
    for setting, values in choices.items():
        for value in values:
            try:
                made = computation_from({"engine": name, setting: value})
            except ZobenchError as e:
                assert str(e).startswith(f"engine={name} ")
            else:
                assert getattr(made, setting) == value
                found[setting].append(value)
    return found


def table(heading: str) -> dict[str, list[str]]:
    """The rows of the table of docs/engine.md whose head begins so, by their first cell."""
    lines = PAGE[PAGE.index(heading) :].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return {first.strip("`"): rest for first, *rest in cells}


def test_the_page_says_what_each_engine_takes():
    shown = table("| `--engine` | `restore` |")
    assert list(shown) == list(ENGINES)
    for name, cells in shown.items():
        assert [re.findall(r"`(\w+)`", cell) for cell in cells] == list(taken(name).values()), name


def test_the_page_says_how_weights_come_back():
    shown = table("| `--engine` | what it does |")
    assert list(shown) == [*ENGINES, "auto"]
    says = {("arithmetic",): "up to rounding", ("exact",): "exactly"}
    for name in ENGINES:
        back = shown[name][1]
        assert (back == says.get(engine_class(name).restores)) == (len(engine_class(name).restores) == 1), name


@pytest.mark.parametrize("where", ["README.md", "docs/protocol.md"])
def test_pages_name_every_engine(where):
    lines = (ROOT / where).read_text(encoding="utf-8").splitlines()
    (row,) = (line for line in lines if re.match(r"\| (engines|`engine`) \|", line))
    assert {*ENGINES, "auto"} <= set(re.findall(r"`(\w+)`", row))


def test_the_estimators_docstring_says_what_engines_take():
    text = re.sub(r"\s+", " ", Estimator.__doc__ or "")
    said = {k: text.partition(f" {k}: ")[2].partition(f" {to}: ")[0] for k, to in (
        ("engine", "noise"), ("noise", "restore"), ("restore", "precision"), ("precision", "seed"))}  # fmt: skip
    facts = {name: engine_class(name) for name in ENGINES}
    assert said["engine"].startswith(f"how losses are computed: {', '.join(ENGINES)} (docs/engine.md")
    assert set(NOISES) <= set(re.findall(r"\w+", said["noise"]))
    streams = [name for name, cls in facts.items() if not cls.one_order]
    assert f"not with {' or '.join(streams)})" in said["noise"]
    for way in RESTORES:
        names = [name for name, cls in facts.items() if cls.restores == (way,)]
        assert f"{' and '.join(names)} {'are ' if way == 'arithmetic' else ''}always {way}" in said["restore"]
    native = [name for name, cls in facts.items() if cls.precisions == ("native",)]
    assert f"not with {' or '.join(native)})" in said["precision"]


def test_help_names_every_engine(capsys):
    assert main(["run", "--help"]) == 0
    text = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    assert f"{', '.join(['auto', *ENGINES])}." in text


@pytest.mark.parametrize("name", ENGINES)
def test_engines_are_as_their_facts_say(name):
    cls = engine_class(name)
    assert issubclass(cls, Engine) and cls.name == name
    assert set(cls.restores) <= set(RESTORES) and set(cls.precisions) <= set(PRECISIONS)
    for restore in RESTORES:
        made = build(name, restore)
        assert made.restore == cls.restored(restore) and made.restore in cls.restores
    for precision in PRECISIONS:
        if precision in cls.precisions:
            assert build(name, precision=precision).precision == precision
        else:
            with pytest.raises(ZobenchError, match=f"engine {name} knows precision native only"):
                build(name, precision=precision)


def test_a_new_engine_is_a_class_and_an_entry(toy):
    """Checks of settings and of estimators hear of it from its class."""
    assert taken("toy") == {
        "restore": ["exact"],
        "precision": ["native"],
        "noise": ["per_tensor", "philox"],
        "rows": ["replicated"],
        "prefix_cache": ["off"],
        "compile": ["off", "blocks"],
        "cuda_graphs": ["off"],
    }
    for asked, why in (
        ({"restore": "arithmetic"}, "engine=toy knows restore=exact only; leave restore=arithmetic out"),
        ({"precision": "float32"}, "engine=toy knows precision=native only; leave precision=float32 out"),
        ({"noise": "official"}, "engine=toy draws noise as modules run, noise=official is one stream; use per_tensor"),
        ({"rows": "packed"}, "engine=toy knows rows=replicated only; leave rows=packed out"),
        ({"prefix_cache": "auto"}, "engine=toy has no prefix cache; leave prefix_cache=auto out"),
        ({"cuda_graphs": "on"}, "engine=toy passes over rows that are not packed; leave cuda_graphs=on out"),
    ):
        with pytest.raises(ZobenchError) as caught:
            computation_from({"engine": "toy", **asked})
        assert str(caught.value) == why
    with pytest.raises(ZobenchError, match="unknown engine 'tol'; did you mean 'toy'"):
        computation_from({"engine": "tol"})

    check_estimator(Looker, engines=["flat", "toy"], problems=["mlp"])


def test_a_run_goes_through_on_a_new_engine_as_on_the_one_it_is_like(toy, world, tmp_path):
    like = {"restore": "exact", "rows": "replicated", "prefix_cache": "off"}
    (made,) = run(world, tmp_path / "toy", ["mezo"], engine="toy")
    (want,) = run(world, tmp_path / "flat", ["mezo"], engine="flat", **like)
    assert made["status"] == "ok", made["error"]
    assert made["engine"] == {**want["engine"], "engine": "toy"}
    assert (made["trials"], made["metrics"]) == (want["trials"], want["metrics"])
    assert made["id"] != want["id"]


def test_one_stream_of_noise_is_not_drawn_as_modules_run():
    with pytest.raises(ZobenchError, match="engine=streamed draws noise as modules run, noise=official is one stream"):
        computation_from({"engine": "streamed", "noise": "official"})
