"""The launches and waits of a step on the page about engines are those that are counted."""

from __future__ import annotations

import re

import pytest
from on_graphs import run
from pretend_kit import ROOT, plugins, world

from zobench.run.session import Session

PAGE = (ROOT / "docs" / "engine.md").read_text(encoding="utf-8")
HEAD = "| a step of MeZO | launches | with CUDA graphs | waits |"


def rows() -> list[tuple[str, str, str, str, str]]:
    lines = PAGE[PAGE.index(HEAD) :].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return [(*re.findall(r"`(\w+)`, (\w+)", first)[0], *rest) for first, *rest in cells]


@pytest.fixture(scope="module")
def embedded() -> Session:
    return Session(plugins().model("embedded")(dtype="float32", device="cuda"), plugins(), world().data)


@pytest.mark.parametrize(("engine", "scope", "launches", "replayed", "waits"), rows(), ids=lambda word: str(word))
def test_a_row_is_what_is_counted(embedded, engine, scope, launches, replayed, waits):
    """Within a tenth: other versions of torch and transformers launch some more, or fewer."""
    noise = {"noise": "official"} if engine == "official" else {}
    made = run(engine, {"all": "full", "last": "layer"}[scope], where=embedded, on=False, **noise)
    assert made.launches == pytest.approx(int(launches.replace(",", "")), rel=0.1)
    assert made.waits == int(waits) and made.copies == 0
    if replayed == "-":
        return
    with_graphs = run(engine, {"all": "full", "last": "layer"}[scope], where=embedded)
    assert with_graphs.launches == pytest.approx(int(replayed), rel=0.1)
    assert with_graphs.waits == int(waits) and with_graphs.copies == 0
