"""`zobench analyze methods`: estimators or selectors against controls, from records."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import (
    MARGIN_POINTS,
    FamilyName,
    FamilyOption,
    MarginOption,
    Results,
    figure_class,
    picture,
    section_of,
)
from .shared_options import shares
from .written import WrittenOptions

if TYPE_CHECKING:
    from ..report.methods import Against, Field, MethodStanding
    from ..report.rows import Section


class Comparison(enum.StrEnum):
    """What is compared."""

    estimator = "estimator"
    selector = "selector"


COLOURS = {"better": "tab:green", "worse": "tab:red", "as good as": "tab:blue"}
"""By verdict; whatever is not told apart is grey."""


@shares
def methods(
    results: Results,
    written: WrittenOptions,
    against: Annotated[
        str | None,
        typer.Option(help="Controls, comma separated: all others are held against them. [the baseline; all weights]"),
    ] = None,
    by: Annotated[
        Comparison, typer.Option(help="Compare estimators that share a selector, or selectors that share an estimator.")
    ] = Comparison.estimator,
    cards: Annotated[
        bool,
        typer.Option(
            "--cards",
            help="Add what each estimator took beside what its card says; of selectors, what each chose, its price.",
        ),
    ] = False,
    family: FamilyOption = FamilyName.board,
    margin: MarginOption = MARGIN_POINTS,
) -> None:
    """Print how estimators (or selectors) stand to some controls on the average over tasks.

    The picture is drawn against the first control. The folder's records must be of one model and one protocol.
    """
    written.check()
    from ..plugins import declared
    from ..plugins.registry import load_plugins
    from ..report import facts
    from ..report import methods as report

    section = section_of(results)
    usual = "baseline" if by is Comparison.estimator else "everything"
    controls = [name.strip() for name in (against or declared.one(load_plugins(), usual, "--against")).split(",")]
    made = report.markdown(section, controls, by.value, family.value, margin / 100)
    if cards:
        made += "\n" + (beside_cards(section) if by is Comparison.estimator else choices(section))
    found = report.fields(section, controls, by.value, family.value, margin / 100)
    written.end(
        made,
        {**facts.section(section), "fields": report.facts(found, section)},
        lambda path: drawn(path, found, controls[0]),
    )


def beside_cards(section: Section) -> str:
    """A table of forwards and state as measured and as the estimators' cards say, a row a method and selector."""
    from ..plugins.registry import load_plugins
    from ..report import text
    from ..report.taken import taken
    from .card import facts, verified

    found = load_plugins()
    lines = []
    for row in section.rows:
        if not row.trains or row.estimator not in found.names("estimators"):
            continue
        cls, took = found.estimator(row.estimator), taken(row)
        card = facts(cls)
        lines.append(
            [
                row.method,
                row.where,
                verified(cls),
                text.NONE if cls.forwards_per_step is None else str(cls.forwards_per_step),
                f"{took.get('train', 0):.3g}",
                f"{cls.extra_forwards_per_step:g}",
                f"{took.get('extra', 0):.3g}",
                f"{took.get('run', 0):.0f}",
                card["state"].partition(" bytes")[0],
                f"{took.get('state', 0):.3g}",
            ]
        )
    headers = [
        *("estimator", "selector", "verified", "forwards a step: card", "measured", "further: card", "measured"),
        *("forwards a run", "state: card", "measured"),
    ]
    said = (
        "Forwards a step, those on further batches, all of them a run (a backward pass is two), and bytes of state a "
        "parameter of the scope: what the card says of the default settings and large matrices, and what these cells "
        "took."
    )
    made = text.table(headers, lines, left=3)
    return f"## What they took\n\n{said}\n\n{made}\n"


MOST_CHOICES = 3
"""Sets of blocks that are named of a selector that chose several."""


def choices(section: Section) -> str:
    """A table of what the selectors chose and what choosing took, a row a selector and estimator."""
    from ..report import text
    from ..report.taken import choice

    lines = []
    for row in section.rows:
        made = choice(row) if row.trains else None
        if made is None:
            continue
        named = [f"{_blocks(blocks)} ({cells})" for blocks, cells in made.blocks[:MOST_CHOICES]]
        rest = len(made.blocks) - MOST_CHOICES
        lines.append(
            [
                row.where,
                row.method,
                f"{made.forwards:,.0f}",
                f"{made.seconds:.1f}",
                f"{text.percent(made.fraction)} %",
                "; ".join(named) + (f"; {text.plural(rest, 'other')}" if rest > 0 else ""),
            ]
        )
    headers = ["selector", "estimator", "forwards to choose", "seconds", "may move", "blocks (cells)"]
    said = (
        "Forwards and seconds before training, on calibration batches and in probes (dev included), the mean of cells; "
        "the part of the model's parameters that may move at some step; the decoder blocks that they are of."
    )
    return f"## What they chose\n\n{said}\n\n{text.table(headers, lines, left=2)}\n"


def _blocks(blocks: Sequence[int]) -> str:
    """Block indices in short: 0-7, or 0, 3."""
    whole = len(blocks) > 2 and list(blocks) == list(range(blocks[0], blocks[-1] + 1))
    return f"{blocks[0]}-{blocks[-1]}" if whole else ", ".join(map(str, blocks)) or "none"


def drawn(path: Path, found: Sequence[Field], control: str) -> bytes:
    """A panel for each field: each row minus the control, with its 95 % interval, coloured by the page's verdict."""
    tallest = max(len(field.standings) for field in found)
    size = (5.0 * len(found), 1.2 + 0.21 * tallest)
    figure = figure_class(path)(figsize=size, layout="constrained")
    for axes, field in zip(figure.subplots(1, len(found), squeeze=False)[0], found, strict=True):
        shown = [(s, held) for s in reversed(field.standings) if (held := _held(s, field, control)) is not None]
        for at, (_, held) in enumerate(shown):
            assert held.compared is not None
            axes.errorbar(
                [100 * held.compared.mean],
                [at],
                xerr=[100 * held.compared.half()],
                marker="o",
                markersize=4,
                capsize=2,
                color=COLOURS.get(held.verdict, "tab:gray"),
            )
        axes.axvline(0.0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(shown)), [_label(s) for s, _ in shown], fontsize="small")
        axes.set(title=field.shared, xlabel=f"test, percent, minus {control} (95 % interval)")
        axes.grid(axis="x", alpha=0.3)
    return picture(figure, path)


def _held(standing: MethodStanding, field: Field, control: str) -> Against | None:
    """What the method is to this control; None where they were not compared."""
    from ..report.methods import named

    return next(
        (a for a in standing.against if a.compared is not None and named(a.control, field.kind) == control), None
    )


def _label(standing: MethodStanding) -> str:
    return f"{standing.name} (reference)" if standing.row.reference else standing.name
