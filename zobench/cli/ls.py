"""`zobench ls`: what there is to choose from. Reads sources and task files; imports no estimator, hence no torch.

For `--markdown`, whose tables have what classes say of themselves, these are imported without torch.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..errors import ZobenchError
from ..plugins.registry import KINDS, Plugins
from .common import AsJson, Kinds, PluginFiles, plugins_of, print_json, print_table
from .read_source import Summary, summarise

METHODS = ("estimators", "directions", "selectors")


def ls(
    kind: Annotated[Kinds | None, typer.Argument(help="What to list; everything if not given.")] = None,
    plugin: PluginFiles = None,
    json: AsJson = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Tables of methods for a page: docs/methods.md.")
    ] = False,
) -> None:
    """List what there is of each kind, estimators and directions to executors: name, description, distribution,
    number of settings.

    `zobench show` tells more about one of them.
    """
    if markdown:
        if json or (kind is not None and kind.value not in METHODS):
            raise typer.BadParameter("--markdown is for estimators, directions and selectors, and goes without --json")
        from .card import page
        from .described import described

        return print(described(plugin, lambda found: page(found, METHODS if kind is None else [kind.value])))
    found = plugins_of(plugin)
    kinds = list(KINDS) if kind is None else [kind.value]
    rows = {k: [row for name in found.names(k) for row in _rows(found, k, name)] for k in kinds}
    if json:
        return print_json([row for k in kinds for row in rows[k]])
    for index, k in enumerate(kinds):
        if index:
            print()
        _print(rows[k], heading="NAME" if kind else k.upper())


def _rows(found: Plugins, kind: str, name: str) -> list[dict[str, Any]]:
    """One row a registration: a name that two plugins claim has two, marked."""
    offers = found.offers(kind, name)
    rows: list[dict[str, Any]] = []
    for offer in offers:
        row: dict[str, Any] = {"kind": KINDS[kind].singular, "name": name, "description": "", "settings": None}
        try:
            summary: Summary = summarise(offer)
            row |= {"description": summary.text, "settings": summary.settings, "error": None}
        except ZobenchError as e:
            row["error"] = str(e)
        if len(offers) > 1:
            others = " and ".join(str(other.by) for other in offers if other is not offer)
            row["error"] = f"clashes with {others}"
        rows.append(row | {"plugin": offer.by.name, "distribution": offer.by.dist, "version": offer.by.version})
    return rows


def _print(rows: list[dict[str, Any]], *, heading: str) -> None:
    """One kind as a table; the number of settings only where things of the kind have settings."""
    if not rows:
        return print(f"{heading}\nnone registered")
    counted = any(row["settings"] is not None for row in rows)
    headings = (heading, "DESCRIPTION", "DISTRIBUTION", *(("SETTINGS",) if counted else ()))
    cells = []
    for row in rows:
        text = f"{row['description']} [{row['error']}]".strip() if row["error"] else row["description"]
        settings = "-" if row["settings"] is None else str(row["settings"])
        cells.append((row["name"], text, row["distribution"], settings)[: len(headings)])
    print_table(headings, cells)
